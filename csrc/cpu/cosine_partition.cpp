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
#include <vector>

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

// sum * e^maximum of every sample's negatives seen so far.
struct Partition {
  std::vector<float> maximum;  // (stride,)
  std::vector<double> sum;     // (stride,), double: 1e5 float additions would lose 1e-4

  explicit Partition(int64_t stride) : maximum(stride, -kInfinity), sum(stride, 0.0) {}

  // logits (rows, stride); -inf marks what is excluded.
  void add(const float* logits, int64_t rows) {
    const int64_t stride = int64_t(sum.size());
    for (int64_t i = 0; i < stride; i += kLanes) {
      Vector peak = load(maximum.data() + i);
      for (int64_t j = 0; j < rows; ++j) {
        const Vector row = load(logits + j * stride + i);
        peak = peak >= row ? peak : row;  // a NaN may drop out here, but never out of the sum
      }
      float peaks[kLanes], shifts[kLanes];
      store(peaks, peak);
      for (int k = 0; k < kLanes; ++k) {
        shifts[k] = peaks[k] == -kInfinity ? 0.0f : peaks[k];  // only excluded so far
        if (maximum[i + k] != peaks[k]) sum[i + k] *= std::exp(maximum[i + k] - peaks[k]);
        maximum[i + k] = peaks[k];
      }
      Vector total{};
      for (int64_t j = 0; j < rows; ++j) {
        total += exp(load(logits + j * stride + i) - load(shifts));
      }
      for (int k = 0; k < kLanes; ++k) sum[i + k] += total[k];
    }
  }

  void merge(const Partition& other) {
    for (size_t i = 0; i < sum.size(); ++i) {
      const float peak = maximum[i] >= other.maximum[i] ? maximum[i] : other.maximum[i];
      if (peak == -kInfinity) continue;
      sum[i] =
          sum[i] * std::exp(maximum[i] - peak) + other.sum[i] * std::exp(other.maximum[i] - peak);
      maximum[i] = peak;
    }
  }

  float logsumexp(int64_t i) const {
    return maximum[i] == -kInfinity ? -kInfinity : float(maximum[i] + std::log(sum[i]));
  }
};

inline void cosine_partition(const CosinePartition& p, const Parallel& parallel) {
  const int64_t columns = p.embeddings.columns;
  const UnitRows unit = unit_embeddings(p);
  std::fill(p.target_cosine, p.target_cosine + p.batch, 0.0f);
  Packed embeddings(columns, p.batch);
  for (int64_t i = 0; i < p.batch; ++i) embeddings.set_column(i, unit.rows.data() + i * columns);
  const Targets targets(p.labels, p.batch);

  const int tasks = parallel.threads;
  std::vector<Partition> partitions(tasks, Partition(padded(p.batch)));
  parallel.run(tasks, [&](int task) {
    const Share share = share_of(task, tasks, p.classes, kBlock);
    Tile tile(p);
    for (int64_t first = share.begin; first < share.end; first += kBlock) {
      const int64_t rows = std::min(kBlock, share.end - first);
      tile.compute(first, rows, embeddings);
      tile.keep(first, rows);
      targets.in_block(first, first + rows, [&](int64_t i, int64_t j) {
        p.target_cosine[i] = tile.cosine[j * tile.stride + i];
        tile.logit[j * tile.stride + i] = -kInfinity;
      });
      partitions[task].add(tile.logit.data(), rows);
    }
  });

  for (int task = 1; task < tasks; ++task) partitions[0].merge(partitions[task]);
  for (int64_t i = 0; i < p.batch; ++i) {
    p.negative_logsumexp[i] = partitions[0].logsumexp(i);
  }
}

// What the backward pass needs of every sample, padded like a tile.
struct Upstream {
  std::vector<char> spoilt;   // its own numbers are NaN: it must not spoil anyone else's gradient
  std::vector<char> ignored;  // nothing comes from upstream, so its gradient is 0 even if spoilt
  std::vector<float> pull;    // d loss / d target cosine
  std::vector<float> push;    // d loss / d nlse; 0 without negatives
  std::vector<float> nlse;    // +inf where push is 0 by definition, so that exp(. - nlse) = 0

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
  }
};

// Sums over the classes of one task.
struct ClassSums {
  std::vector<float> embeddings;  // (B, D) sum_j g_ij r_j w_j
  std::vector<double> radial;     // (B,)   sum_j g_ij cos_ij
  double scale = 0;               // sum_ij push_i p_ij f(cos_ij)
};

// slopes (rows, stride) = g_ij; returns the row sums of g_ij cos_ij in `radial` (rows,).
inline void class_slopes(const CosinePartition& p, const Upstream& up, const Targets& targets,
                         int64_t first, int64_t rows, Tile& tile, std::vector<float>& slopes,
                         float* radial, ClassSums& sums) {
  const int64_t stride = tile.stride;
  for (int64_t j = 0; j < rows; ++j) {
    for (int64_t i = 0; i < stride; i += kLanes) {
      const Vector logit = load(tile.logit.data() + j * stride + i);
      const Vector probability = exp(logit - load(up.nlse.data() + i));
      store(slopes.data() + j * stride + i, probability * load(up.push.data() + i));
    }
  }
  targets.in_block(first, first + rows,
                   [&](int64_t i, int64_t j) { slopes[j * stride + i] = 0.0f; });
  for (int64_t j = 0; j < rows; ++j) {
    for (int64_t i = 0; i < p.batch; ++i) {
      float& slope = slopes[j * stride + i];
      if (slope == 0.0f || up.spoilt[i]) {
        slope = 0.0f;
        continue;
      }
      sums.scale += double(slope) * tile.curve(j, i);
      slope *= p.scale * tile.curve_slope(j, i);
    }
  }
  targets.in_block(first, first + rows,
                   [&](int64_t i, int64_t j) { slopes[j * stride + i] = up.pull[i]; });
  for (int64_t j = 0; j < rows; ++j) {
    double total = 0;
    for (int64_t i = 0; i < p.batch; ++i) {
      if (up.spoilt[i]) continue;
      const double part = double(slopes[j * stride + i]) * tile.cosine[j * stride + i];
      total += part;
      sums.radial[i] += part;
    }
    radial[j] = float(total);
  }
}

inline void cosine_partition_backward(const CosinePartition& p, const CosinePartitionGradient& g,
                                      const Parallel& parallel) {
  const int64_t columns = p.embeddings.columns, batch = p.batch;
  const bool recompute = p.cosines == nullptr;
  const bool want_embeddings = g.embeddings.data != nullptr;
  const Upstream up(p, g, padded(p.batch));
  UnitRows unit = unit_embeddings(p);
  Packed by_column(columns, recompute ? batch : 0);  // (D, B)
  Packed by_row(batch, columns);                     // (B, D)
  for (int64_t i = 0; i < batch; ++i) {
    float* row = unit.rows.data() + i * columns;
    if (up.spoilt[i]) std::fill(row, row + columns, 0.0f);
    if (recompute) by_column.set_column(i, row);
    by_row.set_row(i, row);
  }
  const Targets targets(p.labels, batch);

  const int tasks = parallel.threads;
  std::vector<ClassSums> sums(tasks);
  parallel.run(tasks, [&](int task) {
    const Share share = share_of(task, tasks, p.classes, kBlock);
    ClassSums& mine = sums[task];
    mine.radial.assign(batch, 0.0);
    if (want_embeddings) mine.embeddings.assign(batch * columns, 0.0f);
    Tile tile(p);
    std::vector<float> slopes(kBlock * tile.stride), direction(kBlock * columns);
    float radial[kBlock];
    Packed weight(kBlock, columns);

    for (int64_t first = share.begin; first < share.end; first += kBlock) {
      const int64_t rows = std::min(kBlock, share.end - first);
      recompute ? tile.compute(first, rows, by_column) : tile.recall(first, rows);
      class_slopes(p, up, targets, first, rows, tile, slopes, radial, mine);

      if (g.weight.data != nullptr) {
        multiply(rows, {slopes.data(), tile.stride, 1}, by_row, direction.data(), columns, false);
        for (int64_t j = 0; j < rows; ++j) {
          float* out = direction.data() + j * columns;
          const float* w = tile.weight.data() + j * columns;
          const float along = radial[j] * tile.inverse[j];
          for (int64_t d = 0; d < columns; ++d) out[d] = tile.inverse[j] * (out[d] - w[d] * along);
          g.weight.store(first + j, out);
        }
      }
      if (want_embeddings) {
        for (int64_t j = 0; j < kBlock; ++j) {
          const float inverse = j < rows ? tile.inverse[j] : 0.0f;  // beyond the last class: 0
          if (j < rows) weight.set_row(j, tile.weight.data() + j * columns);
          for (int64_t i = 0; i < batch; ++i) {
            float& slope = slopes[j * tile.stride + i];
            slope = j < rows ? slope * inverse : 0.0f;
          }
        }
        multiply(batch, {slopes.data(), 1, tile.stride}, weight, mine.embeddings.data(), columns,
                 true);
      }
    }
  });

  double scale = 0;
  for (const ClassSums& each : sums) scale += each.scale;
  *g.scale = float(scale);
  if (!want_embeddings) return;
  std::vector<float> row(columns);
  for (int64_t i = 0; i < batch; ++i) {
    double radial = 0;
    std::fill(row.begin(), row.end(), 0.0f);
    for (const ClassSums& each : sums) {
      radial += each.radial[i];
      for (int64_t d = 0; d < columns; ++d) row[d] += each.embeddings[i * columns + d];
    }
    const float* e = unit.rows.data() + i * columns;
    const float own = up.spoilt[i] && !up.ignored[i] ? std::numeric_limits<float>::quiet_NaN() : 0;
    for (int64_t d = 0; d < columns; ++d) {
      row[d] = up.spoilt[i] ? own : unit.inverse_norm[i] * (row[d] - e[d] * float(radial));
    }
    g.embeddings.store(i, row.data());
  }
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
