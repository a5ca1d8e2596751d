// Intra- and inter-class statistics of embeddings in two passes over the samples and one product of
// the centres with themselves. A task owns whole classes, so sums need no atomics and no merging.
#if !defined(FAIRLOSS_ISA)

#include "class_statistics.h"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "fairloss/margin.h"

#define FAIRLOSS_KERNEL "class_statistics.cpp"
#include "each_isa.h"

namespace fairloss {

void class_statistics(const ClassStatistics& problem, const Parallel& parallel) {
  FAIRLOSS_CALL(class_statistics, problem, parallel);
}

}  // namespace fairloss

#else

#include "gemm.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kCenters = 512;  // centres in a packed block: 512 x 512 floats = 1 MB stay in L2
constexpr int64_t kRowBlock = 48;  // centres compared with it at a time

// Samples in the order of their classes: `of(c)` are those of class c.
struct ByClass {
  std::vector<int64_t> start, order;

  ByClass(const ClassStatistics& p) : start(p.classes + 1) {
    for (int64_t i = 0; i < p.samples; ++i) {
      if (p.labels[i] >= 0) ++start[p.labels[i] + 1];
    }
    for (int64_t c = 0; c < p.classes; ++c) start[c + 1] += start[c];
    order.resize(start[p.classes]);
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (int64_t i = 0; i < p.samples; ++i) {
      if (p.labels[i] >= 0) order[next[p.labels[i]]++] = i;
    }
  }

  // First class of a task's share: classes are dealt so that every task has as many samples.
  int64_t first_class(int task, int tasks) const {
    const int64_t wanted = int64_t(order.size()) * task / tasks;
    return std::lower_bound(start.begin(), start.end() - 1, wanted) - start.begin();
  }
};

struct Chords {
  float difference_squared, sum_squared;
};

inline Chords chords(const float* a, const float* b, int64_t columns) {
  double difference = 0, sum = 0;
  for (int64_t d = 0; d < columns; ++d) {
    difference += double(a[d] - b[d]) * (a[d] - b[d]);
    sum += double(a[d] + b[d]) * (a[d] + b[d]);
  }
  return {float(difference), float(sum)};
}

inline void class_spread(const ClassStatistics& p, const ByClass& by_class, int64_t c,
                         std::vector<float>& row, std::vector<double>& sum) {
  const int64_t columns = p.embeddings.columns;
  const int64_t n = by_class.start[c + 1] - by_class.start[c];
  float* center = p.center + c * columns;
  p.count[c] = n;
  if (n == 0) {
    std::fill(center, center + columns, kNaN);
    p.intra_angle[c] = p.intra_variance[c] = kNaN;
    return;
  }
  std::fill(sum.begin(), sum.end(), 0.0);
  for (int64_t k = by_class.start[c]; k < by_class.start[c + 1]; ++k) {
    unit_row(p.embeddings, by_class.order[k], row.data());
    for (int64_t d = 0; d < columns; ++d) sum[d] += row[d];
  }
  for (int64_t d = 0; d < columns; ++d) center[d] = float(sum[d]);
  const float inverse = inverse_norm(center, columns);
  for (int64_t d = 0; d < columns; ++d) center[d] *= inverse;

  double angle = 0, variance = 0;
  for (int64_t k = by_class.start[c]; k < by_class.start[c + 1]; ++k) {
    unit_row(p.embeddings, by_class.order[k], row.data());
    const Chords to_center = chords(row.data(), center, columns);
    angle += angle_from_chords(to_center.difference_squared, to_center.sum_squared);
    variance += to_center.difference_squared / 2;  // 1 - cos of unit vectors
  }
  p.intra_angle[c] = float(angle / n);
  p.intra_variance[c] = n == 1 ? 0.0f : float(variance / (n - 1));
  if (n == 1) p.intra_angle[c] = 0.0f;
}

// The nearest other centre of classes [first, last).
inline void nearest_centers(const ClassStatistics& p, int64_t first, int64_t last) {
  const int64_t columns = p.embeddings.columns;
  std::vector<float> best(last - first, -std::numeric_limits<float>::infinity());
  std::vector<float> cosine(kRowBlock * kCenters);
  std::fill(p.nearest + first, p.nearest + last, -1);
  for (int64_t other = 0; other < p.classes; other += kCenters) {
    const int64_t width = std::min(kCenters, p.classes - other);
    Packed centers(columns, width);
    for (int64_t k = 0; k < width; ++k) centers.set_column(k, p.center + (other + k) * columns);
    for (int64_t c = first; c < last; c += kRowBlock) {
      const int64_t rows = std::min(kRowBlock, last - c);
      multiply(rows, columns, {p.center + c * columns, columns, 1}, centers,
               {cosine.data(), kCenters});
      for (int64_t j = 0; j < rows; ++j) {
        for (int64_t k = 0; k < width; ++k) {
          const float candidate = cosine[j * kCenters + k];  // NaN: an empty class, never greater
          if (candidate > best[c - first + j] && other + k != c + j) {
            best[c - first + j] = candidate;
            p.nearest[c + j] = other + k;
          }
        }
      }
    }
  }
  for (int64_t c = first; c < last; ++c) {
    p.inter_angle[c] = kNaN;
    if (p.nearest[c] < 0) continue;
    const Chords apart = chords(p.center + c * columns, p.center + p.nearest[c] * columns, columns);
    p.inter_angle[c] = angle_from_chords(apart.difference_squared, apart.sum_squared);
  }
}

inline void class_statistics(const ClassStatistics& p, const Parallel& parallel) {
  const ByClass by_class(p);
  parallel.run(parallel.threads, [&](int task) {
    std::vector<float> row(p.embeddings.columns);
    std::vector<double> sum(p.embeddings.columns);
    const int64_t first = by_class.first_class(task, parallel.threads);
    const int64_t last =
        task + 1 == parallel.threads ? p.classes : by_class.first_class(task + 1, parallel.threads);
    for (int64_t c = task == 0 ? 0 : first; c < last; ++c) {
      class_spread(p, by_class, c, row, sum);
    }
  });
  parallel.run(parallel.threads, [&](int task) {
    const Share share = share_of(task, parallel.threads, p.classes, kRowBlock);
    nearest_centers(p, share.begin, share.end);
  });
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
