// One pass over the distractors: how many are more similar to a probe than each of its trials'
// scores, and the highest scores of all. No (P, M) matrix.
#if !defined(FAIRLOSS_ISA)

#include "distractor_ranks.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <new>
#include <vector>

#define FAIRLOSS_KERNEL "distractor_ranks.cpp"
#include "each_isa.h"

namespace fairloss {

int64_t distractor_ranks(const DistractorRanks& problem, const Parallel& parallel) {
  FAIRLOSS_CALL(distractor_ranks, problem, parallel);
}

}  // namespace fairloss

#else

#include "gemm.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr int64_t kDistractors = 96;  // in one tile

// The trials' scores, ascending within each probe.
struct Thresholds {
  std::vector<int64_t> trial, start;  // trial: sorted; start: (P + 1,)
  std::vector<float> score;           // of the sorted trials

  explicit Thresholds(const DistractorRanks& p) : trial(p.trials), start(p.probes + 1) {
    for (int64_t t = 0; t < p.trials; ++t) {
      trial[t] = t;
      ++start[p.probe_index[t] + 1];
    }
    for (int64_t i = 0; i < p.probes; ++i) start[i + 1] += start[i];
    std::sort(trial.begin(), trial.end(), [&](int64_t a, int64_t b) {
      if (p.probe_index[a] != p.probe_index[b]) return p.probe_index[a] < p.probe_index[b];
      return p.scores[a] < p.scores[b];
    });
    for (int64_t t : trial) score.push_back(p.scores[t]);
  }
};

// The highest scores seen: a heap whose front is the lowest of them.
class Tail {
 public:
  explicit Tail(int64_t size) : size_(size) {}

  void add(float score) {
    if (score != score) return;  // infinity minus infinity in a product of huge numbers
    if (int64_t(heap_.size()) < size_) {
      heap_.push_back(score);
      std::push_heap(heap_.begin(), heap_.end(), std::greater<float>());
    } else if (size_ > 0 && score > heap_.front()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<float>());
      heap_.back() = score;
      std::push_heap(heap_.begin(), heap_.end(), std::greater<float>());
    }
  }
  const std::vector<float>& scores() const { return heap_; }

 private:
  int64_t size_;
  std::vector<float> heap_;
};

// What one task counted. above[k] distractors lie between sorted thresholds k and k + 1.
struct Count {
  std::vector<int64_t> above;
  Tail tail;
  int64_t spoilt = -1;

  Count(int64_t trials, int64_t tail) : above(trials), tail(tail) {}
};

inline void count_probe(const float* scores, int64_t rows, const Thresholds& thresholds,
                        int64_t probe, Count& count) {
  const auto first = thresholds.score.begin() + thresholds.start[probe];
  const auto last = thresholds.score.begin() + thresholds.start[probe + 1];
  const float lowest = first == last ? std::numeric_limits<float>::infinity() : *first;
  for (int64_t j = 0; j < rows; ++j) {
    const float score = scores[j];
    if (score > lowest) {
      const auto passed = std::lower_bound(first, last, score) - 1;  // the last one it exceeds
      ++count.above[passed - thresholds.score.begin()];
    }
    count.tail.add(score);
  }
}

inline int64_t distractor_ranks(const DistractorRanks& p, const Parallel& parallel) {
  const int64_t columns = p.probe_rows.columns;
  const Thresholds thresholds(p);
  const int tasks = parallel.threads;
  std::vector<Count> counts(tasks, Count(p.trials, p.tail));
  std::vector<float> probes(p.probes * columns);
  for (int64_t i = 0; i < p.probes; ++i) p.probe_rows.load(i, probes.data() + i * columns);

  parallel.run(tasks, [&](int task) {
    const Share share = share_of(task, tasks, p.distractors, kDistractors);
    Count& mine = counts[task];
    std::vector<float> row(columns), scores(FAIRLOSS_ROWS * kDistractors);
    Packed tile(columns, kDistractors);
    for (int64_t first = share.begin; first < share.end; first += kDistractors) {
      const int64_t rows = std::min(kDistractors, share.end - first);
      for (int64_t j = 0; j < rows; ++j) {
        p.distractor_rows.load(first + j, row.data());
        tile.set_column(j, row.data());
        float total = 0;  // NaN, or inf - inf, anywhere in the row makes this NaN
        for (int64_t d = 0; d < columns; ++d) total += row[d] * 0.0f;
        if (total != total && mine.spoilt < 0) mine.spoilt = first + j;
      }
      for (int64_t i = 0; i < p.probes; i += FAIRLOSS_ROWS) {
        const int64_t some = std::min<int64_t>(FAIRLOSS_ROWS, p.probes - i);
        multiply(some, columns, {probes.data() + i * columns, columns, 1}, tile,
                 {scores.data(), kDistractors});
        for (int64_t k = 0; k < some; ++k) {
          count_probe(scores.data() + k * kDistractors, rows, thresholds, i + k, mine);
        }
      }
    }
  });

  for (int task = 1; task < tasks; ++task) {
    for (int64_t k = 0; k < p.trials; ++k) counts[0].above[k] += counts[task].above[k];
    for (float score : counts[task].tail.scores()) counts[0].tail.add(score);
  }
  for (int64_t probe = 0; probe < p.probes; ++probe) {
    int64_t above = 0;
    for (int64_t k = thresholds.start[probe + 1] - 1; k >= thresholds.start[probe]; --k) {
      above += counts[0].above[k];
      p.ranks[thresholds.trial[k]] = above;
    }
  }
  std::vector<float> tail = counts[0].tail.scores();
  std::sort(tail.begin(), tail.end(), std::greater<float>());
  std::fill(p.tail_scores, p.tail_scores + p.tail, -std::numeric_limits<float>::infinity());
  std::copy(tail.begin(), tail.end(), p.tail_scores);
  for (const Count& each : counts) {
    if (each.spoilt >= 0) return each.spoilt;
  }
  return -1;
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
