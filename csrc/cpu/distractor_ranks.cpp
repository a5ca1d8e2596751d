// For every trial the number of distractors whose similarity to its probe exceeds its score, and
// the highest similarities of all pairs, in one pass over the distractors and without a (P, M)
// matrix.
//
// Probes are packed once and stay in the last-level cache. A block of distractors is read in place,
// stays in L2, and is multiplied with all probes.
#if !defined(FAIRLOSS_ISA)

#include "distractor_ranks.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
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

#include "distractor_count.h"

namespace fairloss::FAIRLOSS_ISA {

class PackedProbes {
  std::vector<std::unique_ptr<Packed> > blocks_;

 public:
  explicit PackedProbes(const DistractorRanks& p) {
    std::vector<float> row(p.probe_rows.columns);
    for (int64_t i = 0; i < p.probes; ++i) {
      if (i % kProbes == 0) {
        const int64_t width = std::min(kProbes, p.probes - i);
        blocks_.push_back(std::make_unique<Packed>(p.probe_rows.columns, width));
      }
      p.probe_rows.load(i, row.data());
      blocks_.back()->set_column(i % kProbes, row.data());
    }
  }

  const Packed& block(int64_t probe) const { return *blocks_[probe / kProbes]; }
};

// Counts the distractors [begin, end).
inline void count_share(const DistractorRanks& p, const PackedProbes& probes, Share share,
                        Count& count) {
  const int64_t columns = p.distractor_rows.columns;
  FloatRows block(p.distractor_rows, kDistractors);
  Buffer scores(kDistractors * kStride);
  for (int64_t first = share.begin; first < share.end; first += kDistractors) {
    const int64_t rows = std::min(kDistractors, share.end - first);
    block.load(first, rows);
    for (int64_t j = 0; j < rows && count.first_invalid < 0; ++j) {
      if (!is_finite(block.row(j), columns)) count.first_invalid = first + j;
    }
    for (int64_t i = 0; i < p.probes; i += kProbes) {
      const Packed& packed = probes.block(i);
      multiply(rows, columns, {block.row(0), block.stride(), 1}, packed, {scores.data(), kStride});
      for (int64_t k = 0; k < packed.n(); k += kLanes) {
        count.add({scores.data() + k, rows, i + k, std::min<int64_t>(kLanes, packed.n() - k)});
      }
    }
  }
}

inline int64_t distractor_ranks(const DistractorRanks& p, const Parallel& parallel) {
  const Thresholds thresholds(p);
  const PackedProbes probes(p);
  const int tasks = parallel.threads;
  std::vector<Count> counts(tasks, Count(thresholds, p.tail));
  parallel.run(tasks, [&](int task) {
    count_share(p, probes, share_of(task, tasks, p.distractors, FAIRLOSS_ROWS), counts[task]);
  });
  for (int task = 1; task < tasks; ++task) counts[0].merge(counts[task]);

  for (int64_t probe = 0; probe < p.probes; ++probe) counts[0].write_ranks(probe, p.ranks);
  counts[0].tail.thin();
  std::vector<float>& tail = counts[0].tail.scores();
  std::sort(tail.begin(), tail.end(), std::greater<float>());
  std::fill(p.tail_scores, p.tail_scores + p.tail, -kInfinity);
  std::copy(tail.begin(), tail.end(), p.tail_scores);
  return counts[0].first_invalid;
}

}  // namespace fairloss::FAIRLOSS_ISA

#endif
