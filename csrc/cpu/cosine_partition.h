#pragma once

#include <cstdint>

#include "parallel.h"
#include "rows.h"

namespace fairloss {

struct CosinePartition {
  int64_t batch, classes;
  Rows embeddings;        // (B, D)
  Rows weight;            // (C, D)
  const int64_t* labels;  // (B,), -1: no class is excluded
  float scale;
  const float* hard_threshold;  // (B,) or null: a non-target cosine c above it becomes
  float hard[3];                //   hard[0] c^2 + hard[1] c + hard[2]

  float* target_cosine;       // (B,)
  float* negative_logsumexp;  // (B,)
  float* cosines;             // (C, B) kept for the backward pass, or null
};

struct CosinePartitionGradient {
  const float* target_cosine;       // (B,)
  const float* negative_logsumexp;  // (B,)
  MutableRows embeddings;           // (B, D), data null: not wanted
  MutableRows weight;               // (C, D), data null: not wanted
  float* scale;                     // ()
};

void cosine_partition(const CosinePartition& problem, const Parallel& parallel);

// `forward` is the problem with the outputs that cosine_partition wrote.
void cosine_partition_backward(const CosinePartition& forward,
                               const CosinePartitionGradient& gradient, const Parallel& parallel);

}  // namespace fairloss
