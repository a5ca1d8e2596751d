#pragma once

#include <cstdint>

#include "fairloss/saved_cosines.h"
#include "matrix_view.h"
#include "parallel.h"

namespace fairloss {

struct CosinePartition {
  int64_t batch, classes;
  MatrixView embeddings;  // (B, D)
  MatrixView weight;      // (C, D)
  const int64_t* labels;  // (B,), -1: no class is excluded
  float scale;
  Precision compute;               // what operands of the products are rounded to; sums are float
  const float* hard_threshold;     // (B,), or null: no hard-negative transform
  const float* hard_coefficients;  // (3,), (a, b, d) of the transform

  float* target_cosine;       // (B,)
  float* negative_logsumexp;  // (B,)
  int64_t saved_classes;      // the first classes: whole tiles of kCpuTileClasses, or all
  float* saved_cosines;       // (saved_classes, padded_batch(B)), for the backward pass
};

struct CosinePartitionGradient {
  const float* grad_target_cosine;       // (B,), or null: zeros
  const float* grad_negative_logsumexp;  // (B,), or null: zeros
  MutableMatrixView grad_embeddings;     // (B, D), data null: not computed
  MutableMatrixView grad_weight;         // (C, D), data null: not computed
  float* grad_scale;                     // (), or null: not computed
};

void cosine_partition(const CosinePartition& problem, const Parallel& parallel);

// `forward` is the problem with the outputs that cosine_partition wrote.
void cosine_partition_backward(const CosinePartition& forward,
                               const CosinePartitionGradient& gradient, const Parallel& parallel);

}  // namespace fairloss
