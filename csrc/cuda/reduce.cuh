// Reductions whose order depends on the shape only: results are the same bits in every run.
#pragma once

#include "launch.cuh"

namespace fairloss::cuda {

// The sum over the 32 lanes, in every lane. All lanes must call it.
template <typename T>
__device__ T warp_sum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// The greatest of the 32 lanes, in every lane; a NaN drops out. All lanes must call it.
__device__ inline float warp_max(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// The sum over the threads of the block (a multiple of 32), in the threads of its first warp. All
// threads must call it; before a second call there must be a barrier.
template <typename T>
__device__ T block_sum(T value) {
  FAIRLOSS_SHARED(T, warps, [kWarp]);
  const int warp = int(threadIdx.x / kWarp), lane = lane_index();
  value = warp_sum(value);
  if (lane == 0) warps[warp] = value;
  __syncthreads();
  if (warp != 0) return value;
  return warp_sum(lane < int(blockDim.x / kWarp) ? warps[lane] : T(0));
}

}  // namespace fairloss::cuda
