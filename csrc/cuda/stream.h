// The CUDA runtime's type, so that whoever calls a launcher needs no CUDA headers.
#pragma once

typedef struct CUstream_st* cudaStream_t;
