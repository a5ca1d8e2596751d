#include "distractor_ranks.h"
#include "lower_bound.cuh"
#include "reduce.cuh"
#include "vector.cuh"

namespace fairloss::cuda {

__global__ void start_ranks_kernel(const RankTrials p) {
  for (int64_t t = thread_index(); t < p.trials; t += thread_count()) {
    const int64_t probe = p.sorted_probes[t], trial = p.order[t];
    const bool valid = probe >= 0 && probe < p.probes && !std::isnan(p.thresholds[trial]);
    p.ranks[trial] = valid ? 0 : kInvalidRank;
  }
  for (int64_t i = thread_index(); i <= p.probes; i += thread_count()) {
    p.start[i] = lower_bound(p.sorted_probes, p.trials, i);
  }
}

// Four counts of a warp, below 2^16 each, are packed into a word and summed at once.
constexpr int kPacked = 4, kBits = 16;

// A block of threads takes a probe: its threads pass over the row of scores once for every
// kThresholds thresholds, as many as registers hold.
__global__ void __launch_bounds__(kThreads)
    count_ranks_kernel(const RankTrials p, const ScoreBlock block) {
  constexpr int kThresholds = 8, kWords = kThresholds / kPacked;
  constexpr int kLanes = Vector<float>::kLanes, kWarps = kThreads / kWarp;
  // Loads at a time, of which nvcc keeps 2 or more in flight, and their distance.
  constexpr int kLoads = 4, kStep = kThreads * kLanes;
  FAIRLOSS_SHARED(uint64_t, counts, [kWarps][kWords]);
  FAIRLOSS_SHARED(bool, has_nan, [kWarps]);
  const int thread = int(threadIdx.x), warp = thread / kWarp;
  const int distractors = int(block.distractors);
  for (int64_t i = blockIdx.x; i < block.probes; i += gridDim.x) {
    const float* scores = block.scores + i * block.stride;
    const int64_t end = p.start[block.first_probe + i + 1];
    for (int64_t t = p.start[block.first_probe + i]; t < end; t += kThresholds) {
      float threshold[kThresholds];
      for (int k = 0; k < kThresholds; ++k) {
        threshold[k] = t + k < end ? p.thresholds[p.order[t + k]] : INFINITY;
      }
      int above[kThresholds] = {};
      bool nan = false;
      for (int j = thread * kLanes; j < distractors; j += kLoads * kStep) {
        Vector<float> score[kLoads];
#pragma unroll
        for (int n = 0; n < kLoads; ++n) {
          if (j + n * kStep < distractors) score[n] = load_vector(scores + j + n * kStep);
        }
#pragma unroll
        for (int n = 0; n < kLoads; ++n) {
#pragma unroll
          for (int l = 0; l < kLanes; ++l) {
            const bool present = j + n * kStep + l < distractors;
            const float value = present ? score[n].lane[l] : -INFINITY;
            for (int k = 0; k < kThresholds; ++k) above[k] += value > threshold[k];
            nan |= std::isnan(value);
          }
        }
      }
      for (int w = 0; w < kWords; ++w) {
        uint64_t word = 0;
        for (int k = 0; k < kPacked; ++k) word |= uint64_t(above[w * kPacked + k]) << kBits * k;
        word = warp_sum(word);
        if (lane_index() == 0) counts[warp][w] = word;
      }
      nan = __any_sync(kAllLanes, nan);
      if (lane_index() == 0) has_nan[warp] = nan;
      __syncthreads();
      if (thread < kThresholds && t + thread < end) {
        int64_t rank = p.ranks[p.order[t + thread]];
        for (int w = 0; w < kWarps; ++w) {
          const uint64_t word = counts[w][thread / kPacked] >> kBits * (thread % kPacked);
          rank = rank < 0 || has_nan[w] ? kInvalidRank : rank + int64_t(word & 0xffff);
        }
        p.ranks[p.order[t + thread]] = rank;
      }
      __syncthreads();
    }
  }
}

__global__ void mask_padding_kernel(const ScoreBlock block) {
  const int64_t all = block.rows * block.stride;
  for (int64_t element = thread_index(); element < all; element += thread_count()) {
    const bool padding =
        element / block.stride >= block.probes || element % block.stride >= block.distractors;
    if (padding) block.scores[element] = -INFINITY;
  }
}

void launch_start_ranks(const RankTrials& p, cudaStream_t stream) {
  const int64_t work = std::max(p.trials, p.probes + 1);
  launch(start_ranks_kernel, {blocks_for(work, kThreads), kThreads, 0, stream}, p);
}

void launch_count_ranks(const RankTrials& p, const ScoreBlock& block, cudaStream_t stream) {
  launch(count_ranks_kernel, {blocks_for(block.probes, 1), kThreads, 0, stream}, p, block);
}

void launch_mask_padding(const ScoreBlock& block, cudaStream_t stream) {
  if (block.probes == block.rows && block.distractors == block.stride) return;
  const int64_t all = block.rows * block.stride;
  launch(mask_padding_kernel, {blocks_for(all, kThreads), kThreads, 0, stream}, block);
}

}  // namespace fairloss::cuda
