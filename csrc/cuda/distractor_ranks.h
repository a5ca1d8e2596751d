// The kernels of distractor_ranks. A library's stable sort of the trials by probe comes before
// them, and its products of a block of probes with a block of distractors between them.
#pragma once

#include <cstdint>

#include "cuda_types.h"

namespace fairloss::cuda {

// The rank of a trial whose probe is out of range or whose similarities include NaN.
constexpr int64_t kInvalidRank = -1;

// All pointers are the device's, to contiguous memory.
struct RankTrials {
  int64_t trials, probes;
  const int64_t* sorted_probes;  // (T,) ascending
  const int64_t* order;          // (T,) the trial of each
  const float* thresholds;       // (T,) similarities of the genuine pairs

  int64_t* start;  // (P + 1,) scratch: the first position of each probe's trials in `order`
  int64_t* ranks;  // (T,) distractors so far that exceed the threshold; kInvalidRank: invalid
};

// Before the first block: sets the ranks to 0, or kInvalidRank where the probe is out of range or
// the threshold is NaN.
void launch_start_ranks(const RankTrials& trials, cudaStream_t stream);

struct ScoreBlock {
  int64_t first_probe, probes, distractors;  // fewer than 2^16 distractors
  int64_t rows, stride;  // of the block with its padding; stride: a multiple of 4
  float* scores;         // (rows, stride), aligned to 16 bytes
};

// Adds the counts of a block of scores to the ranks of its probes' trials; a score of NaN makes
// them kInvalidRank. One block of threads counts for a probe, so results do not depend on
// scheduling.
void launch_count_ranks(const RankTrials& trials, const ScoreBlock& block, cudaStream_t stream);

// Sets the padding of a block to minus infinity.
void launch_mask_padding(const ScoreBlock& block, cudaStream_t stream);

}  // namespace fairloss::cuda
