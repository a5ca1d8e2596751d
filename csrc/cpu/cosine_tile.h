// What both passes of cosine_partition share: unit embeddings, where the targets are, and one block
// of classes against the whole batch. Included once per instruction set: no guard.
#include "gemm.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr int64_t kBlock = 64;  // classes in one tile: 64 x 512 floats = 128 KB stay in L2
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Samples in a row of a tile, up to whole vectors.
inline int64_t padded(int64_t batch) { return (batch + kLanes - 1) / kLanes * kLanes; }

struct UnitRows {  // normalised rows, and what normalised them
  std::vector<float> rows;
  std::vector<float> inverse_norm;
};

inline UnitRows unit_embeddings(const CosinePartition& p) {
  const int64_t columns = p.embeddings.columns;
  UnitRows unit{std::vector<float>(p.batch * columns), std::vector<float>(p.batch)};
  for (int64_t i = 0; i < p.batch; ++i) {
    unit.inverse_norm[i] = unit_row(p.embeddings, i, unit.rows.data() + i * columns);
  }
  return unit;
}

// Sample indices of each class, so that a tile finds its targets without scanning the batch.
class Targets {
  const int64_t* labels_;
  std::vector<int64_t> order_;  // samples sorted by label

 public:
  Targets(const int64_t* labels, int64_t batch) : labels_(labels), order_(batch) {
    for (int64_t i = 0; i < batch; ++i) order_[i] = i;
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t a, int64_t b) { return labels_[a] < labels_[b]; });
  }

  template <typename Visit>
  void in_block(int64_t first, int64_t last, const Visit& visit) const {
    auto at = std::lower_bound(order_.begin(), order_.end(), first,
                               [&](int64_t i, int64_t label) { return labels_[i] < label; });
    for (; at != order_.end() && labels_[*at] < last; ++at) visit(*at, labels_[*at] - first);
  }
};

// One block of classes against the whole batch: rows are classes, columns samples, padded with
// zeros to whole vectors.
class Tile {
  const CosinePartition& p_;

 public:
  const int64_t stride;
  std::vector<float> weight;  // (kBlock, D)
  std::vector<float> cosine;  // (kBlock, stride)
  std::vector<float> logit;   // (kBlock, stride) s f(cosine), f bends hard negatives
  float inverse[kBlock];

  explicit Tile(const CosinePartition& p)
      : p_(p),
        stride(padded(p.batch)),
        weight(kBlock * p.weight.columns),
        cosine(kBlock * stride),
        logit(kBlock * stride) {}

  // Raw weight rows, inverse norms and cosines of classes [first, first + rows).
  void compute(int64_t first, int64_t rows, const Packed& embeddings) {
    load_weight(first, rows);
    multiply(rows, {weight.data(), p_.weight.columns, 1}, embeddings, cosine.data(), stride, false);
    for (int64_t j = 0; j < rows; ++j) {
      for (int64_t i = 0; i < p_.batch; ++i) cosine[j * stride + i] *= inverse[j];
    }
    scale(rows);
  }

  // The same from what the forward pass kept.
  void recall(int64_t first, int64_t rows) {
    load_weight(first, rows);
    for (int64_t j = 0; j < rows; ++j) {
      const float* kept = p_.cosines + (first + j) * p_.batch;
      std::copy(kept, kept + p_.batch, cosine.data() + j * stride);
    }
    scale(rows);
  }

  void keep(int64_t first, int64_t rows) const {
    if (p_.cosines == nullptr) return;
    for (int64_t j = 0; j < rows; ++j) {
      const float* row = cosine.data() + j * stride;
      std::copy(row, row + p_.batch, p_.cosines + (first + j) * p_.batch);
    }
  }

  // f and its slope: hard negatives bend, all others keep their cosine.
  float curve(int64_t j, int64_t i) const {
    const float c = cosine[j * stride + i];
    return is_hard(c, i) ? (p_.hard[0] * c + p_.hard[1]) * c + p_.hard[2] : c;
  }
  float curve_slope(int64_t j, int64_t i) const {
    const float c = cosine[j * stride + i];
    return is_hard(c, i) ? 2 * p_.hard[0] * c + p_.hard[1] : 1.0f;
  }

 private:
  void load_weight(int64_t first, int64_t rows) {
    for (int64_t j = 0; j < rows; ++j) {
      float* row = weight.data() + j * p_.weight.columns;
      p_.weight.load(first + j, row);
      inverse[j] = inverse_norm(row, p_.weight.columns);
    }
  }

  bool is_hard(float c, int64_t i) const {
    return p_.hard_threshold != nullptr && c > p_.hard_threshold[i];
  }

  // Both passes read these very floats: rounded alike, exp(logit - nlse) cannot exceed 1 by more
  // than nlse's own rounding, at any scale.
  void scale(int64_t rows) {
    for (int64_t j = 0; j < rows; ++j) {
      for (int64_t i = 0; i < p_.batch; ++i) {
        const float f = p_.hard_threshold == nullptr ? cosine[j * stride + i] : curve(j, i);
        logit[j * stride + i] = p_.scale * f;
      }
    }
  }
};

}  // namespace fairloss::FAIRLOSS_ISA
