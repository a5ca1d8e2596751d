// What both passes of cosine_partition use: unit embeddings, the targets of a tile, and the tile:
// the cosines of up to kCpuTileClasses classes with the whole batch. Included once per instruction
// set: no guard.
#include "product.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Embeddings of length 1. A row with a NaN or an infinity is set to 0, and marked.
class UnitRows {
  Buffer rows_;  // (B, D)

 public:
  std::vector<char> non_finite;  // (B,)

  UnitRows(const MatrixView& raw, int64_t count) : rows_(count * raw.columns), non_finite(count) {
    for (int64_t i = 0; i < count; ++i) {
      float* unit = rows_.data() + i * raw.columns;
      unit_row(raw, i, unit);
      const float squared = dot(unit, unit, raw.columns);
      non_finite[i] = squared != squared;
      if (non_finite[i]) std::fill(unit, unit + raw.columns, 0.0f);
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

  // visit(sample, row of its class in the tile) for the classes [first, last).
  template <typename Visit>
  void for_each(int64_t first, int64_t last, const Visit& visit) const {
    auto it = std::lower_bound(order_.begin(), order_.end(), first,
                               [&](int64_t i, int64_t label) { return labels_[i] < label; });
    for (; it != order_.end() && labels_[*it] < last; ++it) visit(*it, labels_[*it] - first);
  }
};

// The hard-negative transform of kLanes samples from sample i on.
struct HardNegatives {
  const float* threshold;  // (padded_batch(B),), or null: no transform
  Lanes a, b, d;

  Vector value(Vector cosine, int64_t i) const {
    return threshold == nullptr ? cosine : Vector(lanes(i).value(cosine));
  }
  Vector slope(Vector cosine, int64_t i) const {
    return threshold == nullptr ? broadcast(1.0f) : Vector(lanes(i).slope(cosine));
  }

 private:
  HardNegative<Lanes> lanes(int64_t i) const { return {load(threshold + i), a, b, d}; }
};

// Rows are classes, columns are samples, padded with zeros to `stride`.
class Tile {
  const CosinePartition& p_;
  Buffer converted_, scratch_, left_, threshold_;
  std::vector<int32_t> labels_;  // (stride,)
  int32_t first_ = 0;

 public:
  const int64_t stride;
  const float* weight;                   // (rows, D) raw
  int64_t weight_stride;                 // floats from one row of it to the next
  float inverse_norms[kCpuTileClasses];  // (rows,)
  float* cosine;                         // (rows, stride), among the saved ones or the tile's own
  HardNegatives transform;

  explicit Tile(const CosinePartition& p)
      : p_(p),
        converted_(weight_is_float() ? 0 : kCpuTileClasses * p.weight.columns),
        scratch_(kCpuTileClasses * padded_batch(p.batch)),
        left_(scratch_size(kCpuTileClasses, p.weight.columns, p.compute)),
        threshold_(p.hard_threshold == nullptr ? 0 : padded_batch(p.batch)),
        labels_(p.labels, p.labels + p.batch),
        stride(padded_batch(p.batch)),
        transform{} {
    labels_.resize(stride, -1);
    if (p.hard_threshold == nullptr) return;
    threshold_.fill(kInfinity);
    std::copy(p.hard_threshold, p.hard_threshold + p.batch, threshold_.data());
    const float* coefficients = p.hard_coefficients;
    transform = {threshold_.data(), broadcast(coefficients[0]), broadcast(coefficients[1]),
                 broadcast(coefficients[2])};
  }

  // Takes the classes [first, first + rows): raw weight rows and inverse norms.
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
    for (int64_t j = 0; j < rows; ++j) inverse_norms[j] = inverse_norm(weight_row(j), columns);
    cosine = is_saved(first, rows) ? p_.saved_cosines + first * stride : scratch_.data();
  }

  void compute_cosines(int64_t rows, const RightOperand& embeddings) {
    multiply(rows, p_.weight.columns, {weight, weight_stride, 1, inverse_norms}, embeddings,
             {cosine, stride}, left_);
  }

  // A vector of the tile from sample i on: cosines of row j, and which of them are targets.
  Vector cosines(int64_t j, int64_t i) const { return load(cosine + j * stride + i); }
  Ints targets(int64_t j, int64_t i) const {
    return *reinterpret_cast<const Ints*>(labels_.data() + i) == first_ + int32_t(j);
  }

  const float* weight_row(int64_t j) const { return weight + j * weight_stride; }
  bool is_saved(int64_t first, int64_t rows) const { return first + rows <= p_.saved_classes; }

 private:
  bool weight_is_float() const { return p_.weight.precision == Precision::float32; }
};

}  // namespace fairloss::FAIRLOSS_ISA
