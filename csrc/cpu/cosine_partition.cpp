// Forward and backward of cosine_partition, class-major: a task owns blocks of classes and sweeps
// the whole batch with each, so that neither normalised weights nor (C, D) temporaries exist.
//
//   cos_ij = <e_i, w_j> rho_i r_j          rho, r: inverse norms
//   nlse_i = log sum_{j != y_i} exp(s cos_ij)
//
// With g_ij = d loss / d cos_ij, both normalisation Jacobians are sums over rows and columns:
//   dW_j = r_j (sum_i g_ij e_i rho_i  -  w_j r_j  sum_i g_ij cos_ij)
//   dE_i = rho_i (sum_j g_ij w_j r_j  -  e_i rho_i sum_j g_ij cos_ij)
#if !defined(FAIRLOSS_ISA)

#include "cosine_partition.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "brgemm.h"

#define FAIRLOSS_KERNEL "cosine_partition.cpp"
#include "each_isa.h"

namespace fairloss {

void cosine_partition(const CosinePartition& problem, const Parallel& parallel) {
  FAIRLOSS_CALL(cosine_partition, problem, parallel);
}

void cosine_partition_backward(const CosinePartition& forward,
                               const CosinePartitionGradient& gradient, const Parallel& parallel) {
  FAIRLOSS_CALL(cosine_partition_backward, forward, gradient, parallel);
}

}  // namespace fairloss

#else

#include "cosine_tile.h"

namespace fairloss::FAIRLOSS_ISA {

// Blocks are dealt in turn, so that all tasks have as many kept ones: visit(first class, rows).
template <typename Visit>
inline void for_blocks(int task, int tasks, int64_t classes, const Visit& visit) {
  for (int64_t first = task * kBlock; first < classes; first += tasks * kBlock) {
    visit(first, std::min(kBlock, classes - first));
  }
}

// sum * e^shift of every sample's negatives seen so far. A shift is a logit near the highest: it
// moves when a logit exceeds it by more than kSlack, so that nearly always one pass does.
class Partition {
  static constexpr float kSlack = 40;     // kBlock e^40 is far from float's largest, e^88
  static constexpr float kNone = -3e38f;  // lower than any logit, yet no infinity to subtract
  std::vector<float> shift_;              // (stride,)
  std::vector<double> sum_;               // (stride,), double: 1e5 float additions would lose 1e-4

 public:
  explicit Partition(int64_t stride) : shift_(stride, kNone), sum_(stride, 0.0) {}

  // Adds the rows of a tile without the targets.
  void add(const Tile& tile, int64_t rows, float scale) {
    const Vector excluded = broadcast(-kInfinity);
    for (int64_t i = 0; i < tile.stride; i += kLanes) {
      const auto logit = [&](int64_t j) {
        const Vector value = tile.curve.value(tile.cosines(j, i), i) * scale;
        return tile.targets(j, i) ? excluded : value;
      };
      Vector peak = load(shift_.data() + i), total;
      const auto rise = [&](int64_t j) {  // a NaN may drop out here, but never out of the sum
        const Vector each = logit(j);
        peak = peak >= each ? peak : each;
        return each;
      };
      const auto sum = [&] {
        const Vector shift = load(shift_.data() + i);
        total = Vector{};
        for (int64_t j = 0; j < rows; ++j) total += exp(rise(j) - shift);
      };
      if (any(peak == kNone)) {
        for (int64_t j = 0; j < rows; ++j) rise(j);
        raise(i, peak);
      }
      sum();
      if (any(peak > load(shift_.data() + i) + kSlack)) {
        raise(i, peak);
        sum();
      }
      for (int k = 0; k < kLanes; ++k) sum_[i + k] += total[k];
    }
  }

  void merge(const Partition& other) {
    for (int64_t i = 0; i < int64_t(sum_.size()); ++i) {
      const float shift = std::fmax(shift_[i], other.shift_[i]);
      sum_[i] =
          sum_[i] * std::exp(shift_[i] - shift) + other.sum_[i] * std::exp(other.shift_[i] - shift);
      shift_[i] = shift;
    }
  }

  float logsumexp(int64_t i) const {  // without negatives log 0 = -inf
    return float(shift_[i] + std::log(sum_[i]));
  }

 private:
  void raise(int64_t first, Vector peak) {
    for (int k = 0; k < kLanes; ++k) {
      sum_[first + k] *= std::exp(shift_[first + k] - peak[k]);
      shift_[first + k] = peak[k];
    }
  }
};

inline void cosine_partition(const CosinePartition& p, const Parallel& parallel) {
  const int64_t columns = p.embeddings.columns;
  const UnitRows unit(p.embeddings, p.batch);
  Right embeddings(columns, kept_stride(p.batch), p.compute);
  embeddings.set_columns(unit.data(), columns, p.batch);
  const Targets targets(p.labels, p.batch);
  std::fill(p.target_cosine, p.target_cosine + p.batch, 0.0f);

  const int tasks = parallel.threads;
  std::vector<Partition> partitions(tasks, Partition(kept_stride(p.batch)));
  parallel.run(tasks, [&](int task) {
    const MatrixUnits units{embeddings};
    Tile tile(p);
    for_blocks(task, tasks, p.classes, [&](int64_t first, int64_t rows) {
      tile.load_weight(first, rows);
      tile.compute_cosines(rows, embeddings);
      targets.in_block(first, first + rows, [&](int64_t i, int64_t j) {
        p.target_cosine[i] = tile.cosine[j * tile.stride + i];
      });
      partitions[task].add(tile, rows, p.scale);
    });
  });

  for (int task = 1; task < tasks; ++task) partitions[0].merge(partitions[task]);
  for (int64_t i = 0; i < p.batch; ++i) {
    const float nlse = partitions[0].logsumexp(i);
    p.negative_logsumexp[i] = unit.spoilt[i] && nlse != -kInfinity ? kNaN : nlse;
    if (unit.spoilt[i] && p.labels[i] >= 0) p.target_cosine[i] = kNaN;
  }
}

// What the backward pass needs of every sample, padded like a tile.
struct Upstream {
  std::vector<char> spoilt;   // its own numbers are NaN: it must not spoil anyone else's gradient
  std::vector<char> ignored;  // nothing comes from upstream, so its gradient is 0 even if spoilt
  std::vector<float> pull;    // d loss / d target cosine
  std::vector<float> push;    // d loss / d nlse; 0 without negatives
  std::vector<float> nlse;    // +inf where push is 0 by definition, so that exp(. - nlse) = 0
  float boost = 1;            // a power of 2 that slopes are multiplied by: see fit_into_float16

  Upstream(const CosinePartition& p, const CosinePartitionGradient& g, int64_t stride)
      : spoilt(p.batch), ignored(p.batch), pull(stride), push(stride), nlse(stride, kInfinity) {
    for (int64_t i = 0; i < p.batch; ++i) {
      ignored[i] = g.target_cosine[i] == 0.0f && g.negative_logsumexp[i] == 0.0f;
      spoilt[i] = std::isnan(p.target_cosine[i]) || !(p.negative_logsumexp[i] < kInfinity);
      if (spoilt[i]) continue;
      pull[i] = g.target_cosine[i];
      if (p.negative_logsumexp[i] == -kInfinity) continue;
      push[i] = g.negative_logsumexp[i];
      nlse[i] = p.negative_logsumexp[i];
    }
    if (p.compute == Precision::float16) fit_into_float16(p.scale * steepest(p));
  }

 private:
  // The greatest slope of f(cos) for a cosine in [-1, 1].
  static float steepest(const CosinePartition& p) {
    if (p.hard_threshold == nullptr) return 1;
    return std::fmax(1.0f, 2 * std::fabs(p.hard[0]) + std::fabs(p.hard[1]));
  }

  // float16 ends at 2^-24: the largest slope that can be is brought to 2^15 at most, so that all
  // above 2^-39 of it count.
  void fit_into_float16(float steepness) {
    float largest = 0;
    for (size_t i = 0; i < push.size(); ++i) {
      largest = std::fmax(largest, std::fmax(std::fabs(pull[i]), std::fabs(push[i] * steepness)));
    }
    if (largest == 0 || !(largest < kInfinity)) return;
    // At most 2^100: what needs more is too small to matter, and 2^128 is infinite.
    boost = std::exp2(std::fmin(100.0f, 14 - std::floor(std::log2(largest))));
    for (float& value : pull) value *= boost;
    for (float& value : push) value *= boost;
  }
};

// slopes (rows, stride) = g_ij of a tile, 0 at its targets. Returns sum_ij push_i p_ij f(cos_ij).
inline double negative_slopes(const Tile& tile, const Upstream& up, int64_t rows, float scale,
                              float* slopes) {
  double scale_slope = 0;
  for (int64_t j = 0; j < rows; ++j) {
    Vector along{};
    for (int64_t i = 0; i < tile.stride; i += kLanes) {
      const Vector cosine = tile.cosines(j, i), value = tile.curve.value(cosine, i);
      // Not above 0 but for rounding, which at a scale of 1e9 would be beyond what exp can take.
      const Vector exponent = value * scale - load(up.nlse.data() + i);
      const Vector probability = exp(exponent > 0.0f ? Vector{} : exponent);
      const Vector push = tile.targets(j, i) ? Vector{} : probability * load(up.push.data() + i);
      along += push * value;
      store(slopes + j * tile.stride + i, push * scale * tile.curve.slope(cosine, i));
    }
    scale_slope += sum_of(along);
  }
  return scale_slope;
}

// `across` = sum_i g_ij e_i rho_i becomes the gradient of the raw row: the part along the row,
// which normalisation takes away, leaves.
inline void project(float* across, const float* row, float inverse, float boost, int64_t columns) {
  const float along = dot(across, row, columns) * inverse * inverse, factor = inverse / boost;
  for (int64_t d = 0; d < columns; ++d) across[d] = factor * (across[d] - row[d] * along);
}

// One task's share of the backward pass.
class ClassGradients {
  const CosinePartition& p_;
  const CosinePartitionGradient& g_;
  const int64_t columns_;
  Tile tile_;
  Buffer slopes_, weight_gradient_, left_;
  Right unit_weight_;

 public:
  Buffer embeddings;  // (B, padded(D)) sum_j g_ij r_j w_j
  double scale = 0;   // sum_ij push_i p_ij f(cos_ij)

  ClassGradients(const CosinePartition& p, const CosinePartitionGradient& g)
      : p_(p),
        g_(g),
        columns_(p.embeddings.columns),
        tile_(p),
        slopes_(kBlock * tile_.stride),
        weight_gradient_(g.weight.data == nullptr ? 0 : kBlock * padded(columns_)),
        left_(scratch_size(kBlock, p.batch, p.compute)),
        unit_weight_(g.embeddings.data == nullptr ? 0 : kBlock, columns_, p.compute),
        embeddings(g.embeddings.data == nullptr ? 0 : p.batch * padded(columns_)) {
    embeddings.fill(0.0f);
  }

  void add(int64_t first, int64_t rows, const Upstream& up, const Targets& targets,
           const Right& by_column, const Right& by_row) {
    tile_.load_weight(first, rows);
    if (!tile_.is_kept(first, rows)) tile_.compute_cosines(rows, by_column);
    float* slopes = slopes_.data();
    scale += negative_slopes(tile_, up, rows, p_.scale, slopes);
    targets.in_block(first, first + rows,
                     [&](int64_t i, int64_t j) { slopes[j * tile_.stride + i] = up.pull[i]; });
    if (g_.weight.data != nullptr) weight_gradient(first, rows, by_row, up.boost);
    if (g_.embeddings.data != nullptr) embedding_gradient(rows);
  }

 private:
  void weight_gradient(int64_t first, int64_t rows, const Right& by_row, float boost) {
    const int64_t stride = padded(columns_);
    multiply(rows, p_.batch, {slopes_.data(), tile_.stride, 1}, by_row,
             {weight_gradient_.data(), stride}, left_);
    for (int64_t j = 0; j < rows; ++j) {
      float* row = weight_gradient_.data() + j * stride;
      project(row, tile_.weight_row(j), tile_.inverse[j], boost, columns_);
      g_.weight.store(first + j, row);
    }
  }

  void embedding_gradient(int64_t rows) {
    unit_weight_.set_rows(tile_.weight, tile_.weight_stride, rows, tile_.inverse);
    multiply(p_.batch, rows, {slopes_.data(), 1, tile_.stride}, unit_weight_,
             {embeddings.data(), padded(columns_), true}, left_);
  }
};

inline void cosine_partition_backward(const CosinePartition& p, const CosinePartitionGradient& g,
                                      const Parallel& parallel) {
  const int64_t columns = p.embeddings.columns, batch = p.batch;
  const Upstream up(p, g, kept_stride(batch));
  const bool recomputes = p.kept < p.classes;
  Right by_column(columns, recomputes ? kept_stride(batch) : 0, p.compute);  // (D, B)
  Right by_row(batch, columns, p.compute);                                   // (B, D)
  {
    const UnitRows unit(p.embeddings, batch);
    by_column.set_columns(unit.data(), columns, recomputes ? batch : 0);
    by_row.set_rows(unit.data(), columns, batch);
  }
  const Targets targets(p.labels, batch);

  const int tasks = parallel.threads;
  std::vector<std::unique_ptr<ClassGradients> > parts(tasks);
  parallel.run(tasks, [&](int task) {
    const MatrixUnits units{by_row};
    parts[task] = std::make_unique<ClassGradients>(p, g);
    for_blocks(task, tasks, p.classes, [&](int64_t first, int64_t rows) {
      parts[task]->add(first, rows, up, targets, by_column, by_row);
    });
  });

  double scale = 0;
  for (const auto& part : parts) scale += part->scale;
  *g.scale = float(scale / up.boost);
  if (g.embeddings.data == nullptr) return;
  std::vector<float> unit(columns);
  for (int64_t i = 0; i < batch; ++i) {
    float* row = parts[0]->embeddings.data() + i * padded(columns);
    for (int task = 1; task < tasks; ++task) {
      const float* other = parts[task]->embeddings.data() + i * padded(columns);
      for (int64_t d = 0; d < columns; ++d) row[d] += other[d];
    }
    const float inverse = unit_row(p.embeddings, i, unit.data());
    project(row, unit.data(), 1.0f, up.boost, columns);
    const float own = up.ignored[i] ? 0.0f : kNaN;
    for (int64_t d = 0; d < columns; ++d) row[d] = up.spoilt[i] ? own : inverse * row[d];
    g.embeddings.store(i, row);
  }
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
