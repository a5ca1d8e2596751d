#pragma once

#include <cstdint>

#include "cuda_types.h"

namespace fairloss::cuda {

// All pointers are the device's, to contiguous memory.
struct SampledClassesProblem {
  int64_t batch, classes, samples, seed;
  const int64_t* labels;  // (B,), -1: no class
  const int64_t* step;    // one number

  int64_t* sampled;    // (S + B,) the S classes drawn, then the batch's others; -1: none
  int64_t* positions;  // (B,) of the labels in `sampled`; -1: no class, kInvalid: out of range
};

// Draws S of the C classes by a hash of seed and step. Slot S + i is for the class of sample i, if
// that was not drawn and i is its first sample.
void launch_sampled_classes(const SampledClassesProblem& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
