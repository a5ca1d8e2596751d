// cosine_partition with its own product on tensor cores, from sm_80 on: terms or slopes of a tile
// are computed from the cosines in registers, and logits are never written to memory. Replaces a
// library's product followed by launch_cosine_terms or launch_slopes.
#pragma once

#include "cosine_partition.h"

namespace fairloss::cuda {

// Unit rows, padded with zeros. T: __nv_bfloat16, __half, or float with values rounded to TF32.
template <typename T>
struct UnitOperands {
  const T* embeddings;  // (stride, depth)
  const T* weight;      // (rows, depth) of the chunk
  int64_t depth;        // a multiple of kDepth
};

// The type that a cosine of operands T is saved as: float, or int16_t for 16 bits (see
// TermsProblem).
template <typename T>
struct SavedCosine {
  using Type = int16_t;
};
template <>
struct SavedCosine<float> {
  using Type = float;
};

template <typename T>
struct FusedTermsProblem {
  ClassChunk chunk;
  UnitOperands<T> operands;
  typename SavedCosine<T>::Type* saved_cosines;  // (rows, stride), or null

  float* target_cosine;  // as TermsProblem
  float* partials;
};

template <typename T>
void launch_fused_terms(const FusedTermsProblem<T>& problem, cudaStream_t stream);

template <typename T>
struct FusedSlopesProblem {
  ClassChunk chunk;
  UnitOperands<T> operands;
  Upstream upstream;

  T* grad_cosine;  // as SlopesProblem
  double* grad_partials;
};

template <typename T>
void launch_fused_slopes(const FusedSlopesProblem<T>& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
