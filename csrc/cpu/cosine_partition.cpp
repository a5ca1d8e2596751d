// Forward and backward of cosine_partition, class-major: a task takes tiles of classes, each with
// the whole batch, so that neither normalized weights nor (C, D) temporaries exist.
//
//   cos_ij = <e_i, w_j> rho_i r_j          rho, r: inverse norms
//   nlse_i = log sum_{j != y_i} exp(s cos_ij)
//
// With g_ij = d loss / d cos_ij, both normalization Jacobians are sums over rows and columns:
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
#include "fairloss/gradient_scale.h"
#include "fairloss/hard_negative.h"
#include "fairloss/logsumexp.h"

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

// Calls visit(first class, classes) for the tiles of a task. Tiles are dealt in turn, so that every
// task has as many with saved cosines.
template <typename Visit>
inline void for_tiles(int task, int tasks, int64_t classes, const Visit& visit) {
  for (int64_t first = task * kCpuTileClasses; first < classes; first += tasks * kCpuTileClasses) {
    visit(first, std::min(kCpuTileClasses, classes - first));
  }
}

// The sum of exp(logit - peak) over the negatives of every sample. A peak rises only when a logit
// exceeds it by more than kSlack, so that nearly always one pass over a tile is enough.
class Partition {
  static constexpr float kSlack = 40;       // kCpuTileClasses e^40 is far below float's e^88
  static constexpr float kNoPeak = -3e38f;  // below any logit; of -inf the difference would be NaN
  std::vector<float> peak_;                 // (stride,)
  std::vector<double> sum_;  // (stride,), double: 1e5 float additions would lose 1e-4

 public:
  explicit Partition(int64_t stride) : peak_(stride, kNoPeak), sum_(stride, 0.0) {}

  // Adds the rows of a tile without the targets.
  void add(const Tile& tile, int64_t rows, float scale) {
    const Vector excluded = broadcast(-kInfinity);
    for (int64_t i = 0; i < tile.stride; i += kLanes) {
      const auto logit = [&](int64_t j) {
        const Vector value = tile.transform.value(tile.cosines(j, i), i) * scale;
        return tile.targets(j, i) ? excluded : value;
      };
      Vector highest = load(peak_.data() + i), total;
      const auto next_logit = [&](int64_t j) {  // a NaN may drop out of `highest`, not of the sum
        const Vector next = logit(j);
        highest = highest >= next ? highest : next;
        return next;
      };
      const auto sum = [&] {
        const Vector peak = load(peak_.data() + i);
        total = Vector{};
        for (int64_t j = 0; j < rows; ++j) total += exp(next_logit(j) - peak);
      };
      if (any(highest == kNoPeak)) {
        for (int64_t j = 0; j < rows; ++j) next_logit(j);
        raise(i, highest);
      }
      sum();
      if (any(highest > load(peak_.data() + i) + kSlack)) {
        raise(i, highest);
        sum();
      }
      for (int k = 0; k < kLanes; ++k) sum_[i + k] += total[k];
    }
  }

  void merge(const Partition& other) {
    for (int64_t i = 0; i < int64_t(sum_.size()); ++i) {
      const float peak = std::fmax(peak_[i], other.peak_[i]);
      sum_[i] = sum_[i] * relative_exp(peak_[i], peak) +
                other.sum_[i] * relative_exp(other.peak_[i], peak);
      peak_[i] = peak;
    }
  }

  float logsumexp(int64_t i) const { return float(log_sum_exp(peak_[i], sum_[i])); }

 private:
  void raise(int64_t first, Vector peak) {
    for (int k = 0; k < kLanes; ++k) {
      sum_[first + k] *= relative_exp(peak_[first + k], float(peak[k]));
      peak_[first + k] = peak[k];
    }
  }
};

inline void cosine_partition(const CosinePartition& p, const Parallel& parallel) {
  const int64_t columns = p.embeddings.columns;
  const UnitRows unit(p.embeddings, p.batch);
  RightOperand embeddings(columns, padded_batch(p.batch), p.compute);
  embeddings.set_columns(unit.data(), columns, p.batch);
  const Targets targets(p.labels, p.batch);
  std::fill(p.target_cosine, p.target_cosine + p.batch, 0.0f);

  const int tasks = parallel.threads;
  std::vector<Partition> partitions(tasks, Partition(padded_batch(p.batch)));
  parallel.run(tasks, [&](int task) {
    const MatrixUnitsGuard guard{embeddings};
    Tile tile(p);
    for_tiles(task, tasks, p.classes, [&](int64_t first, int64_t rows) {
      tile.load_weight(first, rows);
      tile.compute_cosines(rows, embeddings);
      targets.for_each(first, first + rows, [&](int64_t i, int64_t j) {
        p.target_cosine[i] = tile.cosine[j * tile.stride + i];
      });
      partitions[task].add(tile, rows, p.scale);
    });
  });

  for (int task = 1; task < tasks; ++task) partitions[0].merge(partitions[task]);
  for (int64_t i = 0; i < p.batch; ++i) {
    const float nlse = partitions[0].logsumexp(i);
    p.negative_logsumexp[i] = unit.non_finite[i] && nlse != -kInfinity ? kNaN : nlse;
    if (unit.non_finite[i] && p.labels[i] >= 0) p.target_cosine[i] = kNaN;
  }
}

// The upstream gradients of every sample, padded like a tile. They are 0 for a sample whose outputs
// are not finite, so that it takes no part in the gradients of others.
struct Upstream {
  std::vector<char> non_finite;  // (B,)
  std::vector<char> zero;        // (B,) both gradients are 0, and so is the embedding's
  std::vector<float> grad_target_cosine, grad_nlse;  // (stride,), times gradient_scale
  std::vector<float> nlse;   // (stride,) +inf where there are no negatives: exp(. - nlse) = 0
  float gradient_scale = 1;  // of float16 operands, see fairloss/gradient_scale.h

  Upstream(const CosinePartition& p, const CosinePartitionGradient& g, int64_t stride)
      : non_finite(p.batch),
        zero(p.batch),
        grad_target_cosine(stride),
        grad_nlse(stride),
        nlse(stride, kInfinity) {
    const float grad_cosine =
        p.scale * max_slope(p.hard_coefficients);  // at most, of grad_nlse = 1
    float largest = 0;
    for (int64_t i = 0; i < p.batch; ++i) {
      const float to_target = g.grad_target_cosine == nullptr ? 0 : g.grad_target_cosine[i];
      const float to_nlse = g.grad_negative_logsumexp == nullptr ? 0 : g.grad_negative_logsumexp[i];
      zero[i] = to_target == 0.0f && to_nlse == 0.0f;
      non_finite[i] = std::isnan(p.target_cosine[i]) || !(p.negative_logsumexp[i] < kInfinity);
      if (non_finite[i]) continue;
      grad_target_cosine[i] = to_target;
      largest = std::fmax(largest, std::fabs(grad_target_cosine[i]));
      if (p.negative_logsumexp[i] == -kInfinity) continue;
      grad_nlse[i] = to_nlse;
      nlse[i] = p.negative_logsumexp[i];
      largest = std::fmax(largest, std::fabs(grad_nlse[i] * grad_cosine));
    }
    if (p.compute != Precision::float16) return;
    gradient_scale = float16_gradient_scale(largest);
    for (float& value : grad_target_cosine) value *= gradient_scale;
    for (float& value : grad_nlse) value *= gradient_scale;
  }
};

// grad_cosine (rows, stride) = g_ij of a tile, but for its targets. Returns the sum over i and j of
// grad_nlse_i p_ij f(cos_ij), with f the hard-negative transform: the gradient of the scale.
inline double negative_gradients(const Tile& tile, const Upstream& up, int64_t rows, float scale,
                                 float* grad_cosine) {
  double grad_scale = 0;
  for (int64_t j = 0; j < rows; ++j) {
    Vector row_sum{};
    for (int64_t i = 0; i < tile.stride; i += kLanes) {
      const Vector cosine = tile.cosines(j, i), value = tile.transform.value(cosine, i);
      const Vector p = exp(log_probability<Lanes>(value * scale, load(up.nlse.data() + i)));
      const Vector term = tile.targets(j, i) ? Vector{} : p * load(up.grad_nlse.data() + i);
      row_sum += term * value;
      store(grad_cosine + j * tile.stride + i, term * scale * tile.transform.slope(cosine, i));
    }
    grad_scale += sum_of(row_sum);
  }
  return grad_scale;
}

// Turns the gradient of a unit row into that of the raw row, in place: the normalization takes its
// radial component away. `row` times `inverse_norm` is the unit row.
inline void project(float* grad, const float* row, float inverse_norm, float gradient_scale,
                    int64_t columns) {
  const float radial = dot(grad, row, columns) * inverse_norm * inverse_norm;
  const float factor = inverse_norm / gradient_scale;
  for (int64_t d = 0; d < columns; ++d) grad[d] = factor * (grad[d] - row[d] * radial);
}

// One task's share of the backward pass.
class ClassGradients {
  const CosinePartition& p_;
  const CosinePartitionGradient& g_;
  const int64_t columns_;
  Tile tile_;
  Buffer grad_cosine_, grad_weight_, left_;
  RightOperand unit_weight_;

 public:
  Buffer grad_unit_embeddings;  // (B, padded(D)), times the gradient scale
  double grad_scale = 0;        // likewise

  ClassGradients(const CosinePartition& p, const CosinePartitionGradient& g)
      : p_(p),
        g_(g),
        columns_(p.embeddings.columns),
        tile_(p),
        grad_cosine_(kCpuTileClasses * tile_.stride),
        grad_weight_(g.grad_weight.data == nullptr ? 0 : kCpuTileClasses * padded(columns_)),
        left_(scratch_size(kCpuTileClasses, p.batch, p.compute)),
        unit_weight_(g.grad_embeddings.data == nullptr ? 0 : kCpuTileClasses, columns_, p.compute),
        grad_unit_embeddings(g.grad_embeddings.data == nullptr ? 0 : p.batch * padded(columns_)) {
    grad_unit_embeddings.fill(0.0f);
  }

  void add(int64_t first, int64_t rows, const Upstream& up, const Targets& targets,
           const RightOperand& by_column, const RightOperand& by_row) {
    tile_.load_weight(first, rows);
    if (!tile_.is_saved(first, rows)) tile_.compute_cosines(rows, by_column);
    float* grad_cosine = grad_cosine_.data();
    grad_scale += negative_gradients(tile_, up, rows, p_.scale, grad_cosine);
    targets.for_each(first, first + rows, [&](int64_t i, int64_t j) {
      grad_cosine[j * tile_.stride + i] = up.grad_target_cosine[i];
    });
    if (g_.grad_weight.data != nullptr) write_grad_weight(first, rows, by_row, up.gradient_scale);
    if (g_.grad_embeddings.data != nullptr) add_grad_embeddings(rows);
  }

 private:
  void write_grad_weight(int64_t first, int64_t rows, const RightOperand& by_row,
                         float gradient_scale) {
    const int64_t stride = padded(columns_);
    multiply(rows, p_.batch, {grad_cosine_.data(), tile_.stride, 1}, by_row,
             {grad_weight_.data(), stride}, left_);
    for (int64_t j = 0; j < rows; ++j) {
      float* row = grad_weight_.data() + j * stride;
      project(row, tile_.weight_row(j), tile_.inverse_norms[j], gradient_scale, columns_);
      g_.grad_weight.store(first + j, row);
    }
  }

  void add_grad_embeddings(int64_t rows) {
    unit_weight_.set_rows(tile_.weight, tile_.weight_stride, rows, tile_.inverse_norms);
    multiply(p_.batch, rows, {grad_cosine_.data(), 1, tile_.stride}, unit_weight_,
             {grad_unit_embeddings.data(), padded(columns_), true}, left_);
  }
};

inline void cosine_partition_backward(const CosinePartition& p, const CosinePartitionGradient& g,
                                      const Parallel& parallel) {
  const int64_t columns = p.embeddings.columns, batch = p.batch;
  const Upstream up(p, g, padded_batch(batch));
  const bool recomputes = p.saved_classes < p.classes;
  RightOperand by_column(columns, recomputes ? padded_batch(batch) : 0, p.compute);  // (D, B)
  RightOperand by_row(batch, columns, p.compute);                                    // (B, D)
  {
    const UnitRows unit(p.embeddings, batch);
    by_column.set_columns(unit.data(), columns, recomputes ? batch : 0);
    by_row.set_rows(unit.data(), columns, batch);
  }
  const Targets targets(p.labels, batch);

  const int tasks = parallel.threads;
  std::vector<std::unique_ptr<ClassGradients> > parts(tasks);
  parallel.run(tasks, [&](int task) {
    const MatrixUnitsGuard guard{by_row};
    parts[task] = std::make_unique<ClassGradients>(p, g);
    for_tiles(task, tasks, p.classes, [&](int64_t first, int64_t rows) {
      parts[task]->add(first, rows, up, targets, by_column, by_row);
    });
  });

  double grad_scale = 0;
  for (const auto& part : parts) grad_scale += part->grad_scale;
  if (g.grad_scale != nullptr) *g.grad_scale = float(grad_scale / up.gradient_scale);
  if (g.grad_embeddings.data == nullptr) return;
  std::vector<float> unit(columns);
  for (int64_t i = 0; i < batch; ++i) {
    float* row = parts[0]->grad_unit_embeddings.data() + i * padded(columns);
    for (int task = 1; task < tasks; ++task) {
      const float* other = parts[task]->grad_unit_embeddings.data() + i * padded(columns);
      for (int64_t d = 0; d < columns; ++d) row[d] += other[d];
    }
    const float inverse = unit_row(p.embeddings, i, unit.data());
    project(row, unit.data(), 1.0f, up.gradient_scale, columns);
    const float replacement = up.zero[i] ? 0.0f : kNaN;  // of a sample that is not finite
    for (int64_t d = 0; d < columns; ++d)
      row[d] = up.non_finite[i] ? replacement : inverse * row[d];
    g.grad_embeddings.store(i, row);
  }
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
