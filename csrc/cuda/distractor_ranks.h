// The kernels of distractor_ranks around calls of a library: a stable sort of the trials by probe
// before them, and products of a block of probes with a block of distractors.
#pragma once

#include <cstdint>

#include "stream.h"

namespace fairloss::cuda {

// All pointers are the device's, to contiguous memory.
struct RankTrials {
  int64_t trials, probes;
  const int64_t* sorted_probes;  // (T,) ascending
  const int64_t* order;          // (T,) the trial of each
  const float* thresholds;       // (T,) similarities of the genuine pairs

  int64_t* start;  // (P + 1,) workspace: where each probe's trials begin in the order
  int64_t* ranks;  // (T,) distractors seen so far that exceed the threshold; -1: spoilt
};

// Before the first block: no distractor has been seen. A trial whose probe is out of range, or
// whose threshold is NaN, is spoilt.
void launch_start_ranks(const RankTrials& trials, cudaStream_t stream);

struct ScoreBlock {
  int64_t first_probe, probes, distractors;  // fewer than 2^16 distractors
  int64_t rows, stride;  // of the block with its padding; stride: a multiple of 4
  float* scores;         // (rows, stride), aligned to 16 bytes
};

// Adds what a block tells of its probes' trials. A score of NaN spoils them. Counts are integers
// and each is one block's of threads, so the order of blocks changes nothing.
void launch_count_ranks(const RankTrials& trials, const ScoreBlock& block, cudaStream_t stream);

// Sets the padding of a block to minus infinity.
void launch_mask_padding(const ScoreBlock& block, cudaStream_t stream);

}  // namespace fairloss::cuda
