// Counts the scores of a tile that exceed the thresholds of trials, and collects the highest
// scores. Lanes are probes: a vector of scores is compared with a vector of thresholds, and a tile
// whose highest scores do not exceed them is skipped. Included once per instruction set: no guard.
#include "gemm.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kDistractors = 96;  // in a block: 96 x 512 floats = 192 kB stay in L2
constexpr int64_t kProbes = 128;      // in a packed block
constexpr int64_t kStride = 144;      // of scores: odd cache lines, or columns share few L1 sets
constexpr int64_t kSteps = 64;        // thresholds of a probe that vectors count, a cycle each

// The trials' scores, ascending within each probe. The lowest kSteps of kLanes neighboring probes
// also lie side by side.
struct Thresholds {
  std::vector<int64_t> trial, start;  // trial: sorted; start: (P + 1,)
  std::vector<float> score;           // of the sorted trials
  std::vector<int64_t> first_step;    // (P / kLanes + 1,)
  std::vector<float> step;            // (even steps, kLanes), infinity where a probe has fewer

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
    for (int64_t i = 0; i < p.probes; i += kLanes) {
      first_step.push_back(int64_t(step.size()) / kLanes);
      add_steps(i, std::min(i + kLanes, p.probes));
    }
    first_step.push_back(int64_t(step.size()) / kLanes);
  }

  int64_t count(int64_t probe) const { return start[probe + 1] - start[probe]; }

 private:
  void add_steps(int64_t first, int64_t last) {
    const int64_t base = int64_t(step.size());
    for (int64_t i = first; i < last; ++i) {
      const int64_t steps = std::min(count(i), kSteps), end = base + (steps + 1) / 2 * 2 * kLanes;
      if (int64_t(step.size()) < end) step.resize(end, kInfinity);
      for (int64_t k = 0; k < steps; ++k) step[base + k * kLanes + i - first] = score[start[i] + k];
    }
  }
};

// The `size` highest scores: collects all that exceed a bound, and when there are 2 size of them
// drops the lower half and raises the bound.
class Tail {
 public:
  explicit Tail(int64_t size) : size_(size), bound_(size > 0 ? -kInfinity : kInfinity) {}

  void add(float score) {
    if (!(score > bound_)) return;  // also NaN, from inf - inf in a product of huge numbers
    scores_.push_back(score);
    if (int64_t(scores_.size()) == 2 * size_) thin();
  }
  void thin() {
    if (int64_t(scores_.size()) <= size_) return;
    std::nth_element(scores_.begin(), scores_.begin() + size_ - 1, scores_.end(),
                     std::greater<float>());
    scores_.resize(size_);
    if (size_ > 0) bound_ = scores_.back();
  }
  float bound() const { return bound_; }
  std::vector<float>& scores() { return scores_; }

 private:
  int64_t size_;
  float bound_;
  std::vector<float> scores_;
};

// Scores of a block of distractors and kLanes probes.
struct Tile {
  const float* scores;
  int64_t rows, probe, probes;

  Vector row(int64_t j) const { return load(scores + j * kStride); }
  Vector peak() const {
    Vector highest = broadcast(-kInfinity);
    for (int64_t j = 0; j < rows; ++j) highest = row(j) > highest ? row(j) : highest;
    return highest;
  }
};

// The counts of one task.
class Count {
  const Thresholds& thresholds_;
  std::vector<int64_t> above_step_;  // (steps, kLanes) distractors that exceed it
  std::vector<int64_t> between_;     // (T,) distractors between it and the next, from kSteps on

 public:
  Tail tail;
  int64_t first_invalid = -1;  // distractor with a NaN or an infinity

  Count(const Thresholds& thresholds, int64_t tail)
      : thresholds_(thresholds),
        above_step_(thresholds.step.size()),
        between_(thresholds.score.size()),
        tail(tail) {}

  void add(const Tile& tile) {
    const Vector peak = tile.peak();
    if (any(peak > tail.bound())) add_to_tail(tile);
    const int64_t first = thresholds_.first_step[tile.probe / kLanes];
    const int64_t last = thresholds_.first_step[tile.probe / kLanes + 1];
    for (int64_t step = first; step < last; step += 2) {
      const Vector low = load(thresholds_.step.data() + step * kLanes);
      const Vector high = load(thresholds_.step.data() + (step + 1) * kLanes);
      if (!any(peak > low)) return;
      Ints above_low{}, above_high{};
      for (int64_t j = 0; j < tile.rows; ++j) {
        above_low = tile.row(j) > low ? above_low + 1 : above_low;
        above_high = tile.row(j) > high ? above_high + 1 : above_high;
      }
      int64_t* above = above_step_.data() + step * kLanes;
      for (int k = 0; k < kLanes; ++k) above[k] += above_low[k];
      for (int k = 0; k < kLanes; ++k) above[kLanes + k] += above_high[k];
    }
    if (last - first < kSteps) return;
    for (int64_t i = 0; i < tile.probes; ++i) {
      if (thresholds_.count(tile.probe + i) > kSteps) add_beyond_steps(tile, i);
    }
  }

  void merge(Count& other) {
    for (size_t k = 0; k < above_step_.size(); ++k) above_step_[k] += other.above_step_[k];
    for (size_t k = 0; k < between_.size(); ++k) between_[k] += other.between_[k];
    for (float score : other.tail.scores()) tail.add(score);
    if (first_invalid < 0) first_invalid = other.first_invalid;
  }

  void write_ranks(int64_t probe, int64_t* ranks) const {
    const int64_t* trial = thresholds_.trial.data() + thresholds_.start[probe];
    const int64_t* between = between_.data() + thresholds_.start[probe];
    const int64_t* above = above_step_.data() + thresholds_.first_step[probe / kLanes] * kLanes;
    int64_t beyond = 0;
    for (int64_t k = thresholds_.count(probe) - 1; k >= 0; --k) {
      if (k >= kSteps) beyond += between[k];
      ranks[trial[k]] = k >= kSteps ? beyond : above[k * kLanes + probe % kLanes];
    }
  }

 private:
  void add_to_tail(const Tile& tile) {
    for (int64_t j = 0; j < tile.rows; ++j) {
      if (!any(tile.row(j) > tail.bound())) continue;
      for (int64_t i = 0; i < tile.probes; ++i) tail.add(tile.scores[j * kStride + i]);
    }
  }

  void add_beyond_steps(const Tile& tile, int64_t i) {
    const auto begin = thresholds_.score.begin();
    const auto first = begin + thresholds_.start[tile.probe + i] + kSteps;
    const auto last = begin + thresholds_.start[tile.probe + i + 1];
    for (int64_t j = 0; j < tile.rows; ++j) {
      const float score = tile.scores[j * kStride + i];
      if (score > *first) ++between_[std::lower_bound(first, last, score) - 1 - begin];
    }
  }
};

}  // namespace fairloss::FAIRLOSS_ISA
