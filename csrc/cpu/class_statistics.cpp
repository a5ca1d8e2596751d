// Intra- and inter-class statistics of embeddings, in two passes over the samples and half a
// product of the centers with themselves. A task has whole classes: sums need no atomics and no
// merging, and in the second pass over a class its rows are in cache.
#if !defined(FAIRLOSS_ISA)

#include "class_statistics.h"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "fairloss/norm.h"

#define FAIRLOSS_KERNEL "class_statistics.cpp"
#include "each_isa.h"

namespace fairloss {

void class_statistics(const ClassStatistics& problem, const Parallel& parallel) {
  FAIRLOSS_CALL(class_statistics, problem, parallel);
}

}  // namespace fairloss

#else

#include "nearest_center.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Samples in the order of their classes: order[start[c]] to order[start[c + 1] - 1] are those of
// class c.
struct ClassOrder {
  std::vector<int64_t> start, order;

  explicit ClassOrder(const ClassStatistics& p) : start(p.classes + 1) {
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

  // First class of a task's share; shares have about equally many samples.
  int64_t first_class(int task, int tasks) const {
    if (task == 0 || task == tasks) return task == 0 ? 0 : int64_t(start.size()) - 1;
    const int64_t first_sample = int64_t(order.size()) * task / tasks;
    return std::lower_bound(start.begin(), start.end() - 1, first_sample) - start.begin();
  }
};

struct Chords {
  Vector difference{}, sum{};  // squares, by lanes

  void add(Vector a, Vector b) {
    difference += (a - b) * (a - b);
    sum += (a + b) * (a + b);
  }
  float difference_squared() const { return sum_of(difference); }
  float angle() const { return angle_from_chords(sum_of(difference), sum_of(sum)); }
};

// Chords between factor * a and b. Squares are positive and there are many partial sums: float is
// enough for them.
inline Chords chords(const float* a, float factor, const float* b, int64_t columns) {
  Chords even, odd;
  int64_t d = 0;
  for (; d + 2 * kLanes <= columns; d += 2 * kLanes) {
    even.add(load(a + d) * factor, load(b + d));
    odd.add(load(a + d + kLanes) * factor, load(b + d + kLanes));
  }
  for (; d < columns; ++d) {
    Vector x{}, y{};
    x[0] = a[d] * factor;
    y[0] = b[d];
    even.add(x, y);
  }
  return {even.difference + odd.difference, even.sum + odd.sum};
}

// The center and the spread of each class of a task.
class Spread {
  static constexpr int64_t kFloatRows = 4;   // unit rows summed in float, then added in double
  static constexpr int64_t kPrefetched = 4;  // rows on their way from memory while one is summed
  const ClassStatistics& p_;
  const ClassOrder& class_order_;
  const int64_t columns_;
  FloatRows row_;
  std::vector<float> inverse_;  // inverse norms of the samples of a class
  std::vector<float> partial_;  // (D,), sum of up to kFloatRows rows
  std::vector<double> sum_;     // (D,)

 public:
  Spread(const ClassStatistics& p, const ClassOrder& class_order)
      : p_(p),
        class_order_(class_order),
        columns_(p.embeddings.columns),
        row_(p.embeddings, 1),
        partial_(columns_),
        sum_(columns_) {}

  void add(int64_t c) {
    const int64_t* samples = class_order_.order.data() + class_order_.start[c];
    const int64_t n = class_order_.start[c + 1] - class_order_.start[c];
    p_.count[c] = n;
    if (n == 0) {
      std::fill(p_.center + c * columns_, p_.center + (c + 1) * columns_, kNaN);
      p_.intra_angle[c] = p_.intra_variance[c] = kNaN;
      return;
    }
    sum_rows(samples, n);
    write_center(p_.center + c * columns_);
    write_spread(c, samples, n);
  }

 private:
  void sum_rows(const int64_t* samples, int64_t n) {
    const int64_t* last = class_order_.order.data() + class_order_.order.size();
    inverse_.resize(n);
    std::fill(sum_.begin(), sum_.end(), 0.0);
    for (int64_t k = 0; k < n; ++k) {
      if (samples + k + kPrefetched < last) prefetch_row(p_.embeddings, samples[k + kPrefetched]);
      if (k % kFloatRows == 0) std::fill(partial_.begin(), partial_.end(), 0.0f);
      row_.load(samples[k], 1);
      const float* row = row_.row(0);
      inverse_[k] = inverse_norm(row, columns_);
      for (int64_t d = 0; d < columns_; ++d) partial_[d] += row[d] * inverse_[k];
      if (k % kFloatRows < kFloatRows - 1 && k + 1 < n) continue;
      for (int64_t d = 0; d < columns_; ++d) sum_[d] += partial_[d];
    }
  }

  void write_center(float* center) const {
    for (int64_t d = 0; d < columns_; ++d) center[d] = float(sum_[d]);
    const float inverse = inverse_norm(center, columns_);
    for (int64_t d = 0; d < columns_; ++d) center[d] *= inverse;
  }

  void write_spread(int64_t c, const int64_t* samples, int64_t n) {
    double angle = 0, variance = 0;
    for (int64_t k = 0; k < n; ++k) {
      row_.load(samples[k], 1);
      const Chords chord = chords(row_.row(0), inverse_[k], p_.center + c * columns_, columns_);
      angle += chord.angle();
      variance += chord.difference_squared() / 2;  // 1 - cos of unit vectors
    }
    p_.intra_angle[c] = n == 1 ? 0.0f : float(angle / n);
    p_.intra_variance[c] = n == 1 ? 0.0f : float(variance / (n - 1));
  }
};

inline float inter_angle(const ClassStatistics& p, int64_t c) {
  if (p.nearest[c] < 0) return kNaN;
  const int64_t columns = p.embeddings.columns;
  return chords(p.center + c * columns, 1.0f, p.center + p.nearest[c] * columns, columns).angle();
}

inline void class_statistics(const ClassStatistics& p, const Parallel& parallel) {
  const int tasks = parallel.threads;
  const ClassOrder class_order(p);
  parallel.run(tasks, [&](int task) {
    Spread spread(p, class_order);
    const int64_t last = class_order.first_class(task + 1, tasks);
    for (int64_t c = class_order.first_class(task, tasks); c < last; ++c) spread.add(c);
  });
  std::vector<Nearest> nearest(tasks, Nearest(p.classes));
  parallel.run(tasks, [&](int task) {
    find_nearest(p.center, p.classes, p.embeddings.columns, task, tasks, nearest[task]);
  });
  for (int task = 1; task < tasks; ++task) nearest[0].merge(nearest[task]);
  std::copy(nearest[0].other.begin(), nearest[0].other.end(), p.nearest);
  parallel.run(tasks, [&](int task) {
    const Share share = share_of(task, tasks, p.classes, 1);
    for (int64_t c = share.begin; c < share.end; ++c) p.inter_angle[c] = inter_angle(p, c);
  });
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
