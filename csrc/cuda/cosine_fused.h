// cosine_partition with a product of our own, for tensor cores from sm_80 on: the cosines of a tile
// become terms or slopes where they are, in registers, and never reach memory as logits. Takes the
// place of a library's product and of launch_cosine_terms or launch_slopes.
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

// What T keeps of a cosine: float keeps float, 16 bits keep int16_t (cosine_terms.cuh).
template <typename T>
struct KeptBy {
  using Type = int16_t;
};
template <>
struct KeptBy<float> {
  using Type = float;
};

template <typename T>
struct FusedTermsProblem {
  ClassChunk chunk;
  UnitOperands<T> operands;
  typename KeptBy<T>::Type* kept;  // (rows, stride), or null

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

  T* slopes;  // as SlopesProblem
  double* scale_partials;
};

template <typename T>
void launch_fused_slopes(const FusedSlopesProblem<T>& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
