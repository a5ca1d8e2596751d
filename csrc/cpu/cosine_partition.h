#pragma once

#include <cstdint>

#include "parallel.h"
#include "rows.h"

namespace fairloss {

constexpr int64_t kBlock = 96;  // classes in one tile: 96 x 512 floats = 192 KB stay in L2

struct CosinePartition {
  int64_t batch, classes;
  Rows embeddings;        // (B, D)
  Rows weight;            // (C, D)
  const int64_t* labels;  // (B,), -1: no class is excluded
  float scale;
  Precision compute;            // what operands of the products are rounded to; sums are float
  const float* hard_threshold;  // (B,) or null: a non-target cosine c above it becomes
  float hard[3];                //   hard[0] c^2 + hard[1] c + hard[2]

  float* target_cosine;       // (B,)
  float* negative_logsumexp;  // (B,)
  int64_t kept;               // classes whose cosines stay for the backward pass: whole tiles
  float* cosines;             // (kept, kept_stride(B))
};

// Kept rows are whole vectors of every instruction set.
constexpr int64_t kept_stride(int64_t batch) { return (batch + 15) / 16 * 16; }

// Classes of which there is room for `cosines`, in whole blocks.
constexpr int64_t kept_classes(int64_t cosines, int64_t batch, int64_t classes,
                               int64_t block = kBlock) {
  if (batch == 0) return 0;
  const int64_t fitting = cosines / kept_stride(batch) / block * block;
  return fitting < classes ? fitting : classes;
}

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
