// Conversions between float and 16 bits.
#pragma once

#include "launch.cuh"

namespace fairloss::cuda {

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float to_float(__half value) { return __half2float(value); }

template <typename T>
__device__ T from_float(float value);
template <>
__device__ inline float from_float(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 from_float(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ inline __half from_float(float value) {
  return __float2half_rn(value);
}

// To the 10 bits of TF32, ties away from zero, as cvt.rna.tf32 does.
__device__ inline float to_tf32(float value) {
  union {
    float number;
    uint32_t bits;
  } tf32{value};
  if (std::isfinite(value)) tf32.bits = (tf32.bits + 0x1000u) & ~0x1fffu;
  return tf32.number;
}

}  // namespace fairloss::cuda
