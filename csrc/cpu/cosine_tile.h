// What both passes of cosine_partition share: unit embeddings, where the targets are, and one block
// of classes against the whole batch. Included once per instruction set: no guard.
#include "product.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Embeddings of length 1. One with a NaN or an infinity takes no part: its row is 0 and marked.
class UnitRows {
  Buffer rows_;  // (B, D)

 public:
  std::vector<char> spoilt;

  UnitRows(const Rows& raw, int64_t count) : rows_(count * raw.columns), spoilt(count) {
    for (int64_t i = 0; i < count; ++i) {
      float* unit = rows_.data() + i * raw.columns;
      unit_row(raw, i, unit);
      const float squared = dot(unit, unit, raw.columns);
      spoilt[i] = squared != squared;
      if (spoilt[i]) std::fill(unit, unit + raw.columns, 0.0f);
    }
  }

  const float* data() const { return rows_.data(); }
};

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

  // visit(sample, row of its class in the block) for the classes [first, last).
  template <typename Visit>
  void in_block(int64_t first, int64_t last, const Visit& visit) const {
    auto at = std::lower_bound(order_.begin(), order_.end(), first,
                               [&](int64_t i, int64_t label) { return labels_[i] < label; });
    for (; at != order_.end() && labels_[*at] < last; ++at) visit(*at, labels_[*at] - first);
  }
};

// f(cos) and its slope: hard negatives bend, all others keep their cosine.
struct Curve {
  const float* threshold;  // (stride,) or null
  Vector a, b, d;

  Vector value(Vector cosine, int64_t i) const {
    if (threshold == nullptr) return cosine;
    return cosine > load(threshold + i) ? (a * cosine + b) * cosine + d : cosine;
  }
  Vector slope(Vector cosine, int64_t i) const {
    const Vector one = broadcast(1.0f);
    if (threshold == nullptr) return one;
    return cosine > load(threshold + i) ? 2 * a * cosine + b : one;
  }
};

// One block of classes against the whole batch: rows are classes, columns samples, padded with
// zeros to `stride`.
class Tile {
  const CosinePartition& p_;
  Buffer converted_, scratch_, left_, threshold_;
  std::vector<int32_t> labels_;  // (stride,)
  int32_t first_ = 0;

 public:
  const int64_t stride;
  const float* weight;    // (rows, D) raw
  int64_t weight_stride;  // floats from one row of it to the next
  float inverse[kBlock];  // inverse norms of the rows
  float* cosine;          // (rows, stride), where the forward pass keeps it or in the tile's own
  Curve curve;

  explicit Tile(const CosinePartition& p)
      : p_(p),
        converted_(weight_is_float() ? 0 : kBlock * p.weight.columns),
        scratch_(kBlock * kept_stride(p.batch)),
        left_(scratch_size(kBlock, p.weight.columns, p.compute)),
        threshold_(p.hard_threshold == nullptr ? 0 : kept_stride(p.batch)),
        labels_(p.labels, p.labels + p.batch),
        stride(kept_stride(p.batch)),
        curve{nullptr, broadcast(p.hard[0]), broadcast(p.hard[1]), broadcast(p.hard[2])} {
    labels_.resize(stride, -1);
    if (p.hard_threshold == nullptr) return;
    threshold_.fill(kInfinity);
    std::copy(p.hard_threshold, p.hard_threshold + p.batch, threshold_.data());
    curve.threshold = threshold_.data();
  }

  // Moves to the classes [first, first + rows): raw weight rows and inverse norms.
  void load_weight(int64_t first, int64_t rows) {
    first_ = int32_t(first);
    const int64_t columns = p_.weight.columns;
    if (weight_is_float()) {
      weight = static_cast<const float*>(p_.weight.data) + first * p_.weight.stride;
      weight_stride = p_.weight.stride;
    } else {
      for (int64_t j = 0; j < rows; ++j) p_.weight.load(first + j, converted_.data() + j * columns);
      weight = converted_.data();
      weight_stride = columns;
    }
    for (int64_t j = 0; j < rows; ++j) inverse[j] = inverse_norm(weight_row(j), columns);
    cosine = is_kept(first, rows) ? p_.cosines + first * stride : scratch_.data();
  }

  void compute_cosines(int64_t rows, const Right& embeddings) {
    multiply(rows, p_.weight.columns, {weight, weight_stride, 1, inverse}, embeddings,
             {cosine, stride}, left_);
  }

  // A vector of the tile from sample i on: cosines of row j, and which of them are targets.
  Vector cosines(int64_t j, int64_t i) const { return load(cosine + j * stride + i); }
  Ints targets(int64_t j, int64_t i) const {
    return *reinterpret_cast<const Ints*>(labels_.data() + i) == first_ + int32_t(j);
  }

  const float* weight_row(int64_t j) const { return weight + j * weight_stride; }
  bool is_kept(int64_t first, int64_t rows) const { return first + rows <= p_.kept; }

 private:
  bool weight_is_float() const { return p_.weight.precision == Precision::float32; }
};

}  // namespace fairloss::FAIRLOSS_ISA
