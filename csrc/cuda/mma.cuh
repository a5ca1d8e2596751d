// Instructions of tensor cores and asynchronous copies, from sm_80 on: a function each. The host
// run executes them as the PTX manual defines them (tests/host_run/mma.h).
#pragma once

#include "launch.cuh"
#if !defined(__CUDACC__)
#include "mma.h"  // tests/host_run
#endif

namespace fairloss::cuda {

// Begins to copy 16 bytes to shared memory; zeros where they are not present, and then nothing is
// read. Both addresses are multiples of 16.
__device__ inline void copy_async(void* shared, const void* global, bool present) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                   unsigned(__cvta_generic_to_shared(shared))),
               "l"(__cvta_generic_to_global(global)), "r"(present ? 16 : 0)
               : "memory");
#else
  host_run::copy_async(shared, present ? global : nullptr);
#endif
}

// Makes a group of the copies that this thread has begun since the last one.
__device__ inline void commit_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  host_run::commit_copies();
#endif
}

// Waits for all but the last kPending groups of this thread; a barrier makes them visible to
// others.
template <int kPending>
__device__ void wait_for_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#else
  host_run::wait_for_copies(kPending);
#endif
}

// Four matrices of 8 rows of 16 bytes: lane 8 i + r names row r of matrix i. Of each matrix lane l
// gets 4 bytes, those at 4 (l % 4) of row l / 4.
__device__ inline void load_matrices(const void* row, uint32_t (&words)[4]) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(unsigned(__cvta_generic_to_shared(row)))
               : "memory");
#else
  host_run::load_matrices(row, words);
#endif
}

#if defined(__CUDACC__)
#define FAIRLOSS_MMA(shape, type)                                            \
  asm("mma.sync.aligned." shape ".row.col.f32." type "." type                \
      ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])               \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
#else
#define FAIRLOSS_MMA(shape, type) host_run::multiply_add(type, a, b0, b1, sum)
#endif

// sum (16 x 8) += a (16 x 32 bytes) times b (8 x 32 bytes) transposed. Lane l holds rows l / 4 and
// l / 4 + 8, columns 2 (l % 4) and the next, of sum; of the operands what load_matrices gives:
// a: rows 0-7, 8-15 of the first 16 bytes, then of the others; b: both halves of its 8 rows.
__device__ inline void multiply_add(__nv_bfloat16, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                    float (&sum)[4]) {
  FAIRLOSS_MMA("m16n8k16", "bf16");
}
__device__ inline void multiply_add(__half, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                    float (&sum)[4]) {
  FAIRLOSS_MMA("m16n8k16", "f16");
}
__device__ inline void multiply_add(float, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                    float (&sum)[4]) {
  FAIRLOSS_MMA("m16n8k8", "tf32");
}
#undef FAIRLOSS_MMA

// The index of the thread, which the compiler cannot trace: values computed from it are computed
// after a loop instead of occupying registers during it.
__device__ inline unsigned opaque_thread_index() {
  unsigned thread = threadIdx.x;
#if defined(__CUDACC__)
  asm volatile("" : "+r"(thread));
#endif
  return thread;
}

}  // namespace fairloss::cuda
