// Types of the CUDA runtime, for declarations and pointers: the caller of a launcher needs no CUDA
// headers.
#pragma once

#include <cstdint>

typedef struct CUstream_st* cudaStream_t;
struct __nv_bfloat16;
struct __half;
