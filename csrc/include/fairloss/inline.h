// Functions that both a host and a GPU call.
#pragma once

#if defined(__CUDACC__)
#define FAIRLOSS_INLINE __host__ __device__ __forceinline__
#else
#define FAIRLOSS_INLINE inline
#endif
