// Functions that both a host and a GPU call.
#pragma once

#if defined(__CUDACC__)
#define FAIRLOSS_INLINE __host__ __device__ __forceinline__
#else
#define FAIRLOSS_INLINE inline
#endif

#include <cstdint>

namespace fairloss {

FAIRLOSS_INLINE int64_t round_up(int64_t count, int64_t step) {
  return (count + step - 1) / step * step;
}

}  // namespace fairloss
