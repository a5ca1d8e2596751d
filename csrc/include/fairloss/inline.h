// Functions that the host and a GPU call.
#pragma once

#include <cstdint>

// Always inlined on the host too: csrc/cpu instantiates some of them with the vectors of an
// instruction set that the functions by themselves are not compiled for.
#if defined(__CUDACC__)
#define FAIRLOSS_INLINE __host__ __device__ __forceinline__
#else
#define FAIRLOSS_INLINE __attribute__((always_inline)) inline
#endif

namespace fairloss {

FAIRLOSS_INLINE int64_t round_up(int64_t count, int64_t step) {
  return (count + step - 1) / step * step;
}

}  // namespace fairloss
