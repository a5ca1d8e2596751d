// CUDA's 16-bit types, for pointers: whoever calls a launcher needs no CUDA headers.
#pragma once

struct __nv_bfloat16;
struct __half;
