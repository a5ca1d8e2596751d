// The part of CUDA C++ that the kernels use, for g++: csrc/cuda/launch.cuh includes this header
// where the compiler is not nvcc. Vector and 16-bit types come from CUDA's own headers. The blocks
// of a grid run one after another; the threads of a block are fibers (simt.cpp), which switch at
// barriers and warp collectives only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <type_traits>

namespace fairloss::host_run {

struct Position {
  uint3 thread, block;
  dim3 block_size, grid_size;
};

// The position of the current thread.
extern Position position;

// The operations of several lanes of a warp. Lanes that ask for different ones wait for ever.
enum class Collective : int { sync, ballot, shuffle, gather };

// Runs body() for every thread of every block. Throws at a deadlock.
void run_grid(int64_t blocks, int threads, int64_t shared_bytes, const std::function<void()>& body);

// The most blocks of a grid, in place of the number in csrc/cuda/launch.cuh: HOST_RUN_MAX_BLOCKS,
// or 3.
int64_t max_blocks();

// The static shared array of one place in the kernel, and the dynamic one; filled with 0xFF before
// each block.
void* shared(const void* site, int64_t bytes, int64_t alignment);
void* dynamic_shared();

// __syncthreads: returns when every thread of the block has called it.
void barrier();

// Waits for exactly the lanes of `mask`. ballot: the lanes whose `value` is not 0. shuffle: the
// value of lane `source`, all bits 1 if it is not in the mask (CUDA: undefined).
uint64_t collective(Collective kind, unsigned mask, uint64_t value, int source);

template <typename T>
T shuffle(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = collective(Collective::shuffle, mask, bits, source);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}

// Calls combine(values of the 32 lanes) once, when all lanes have called and before any continues.
void gather(uint64_t value, void (*combine)(const uint64_t* values));

// Ends the launch with this report.
void fail(const std::string& report);

inline int lane() { return int(position.thread.x) % 32; }

}  // namespace fairloss::host_run

#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __launch_bounds__
#undef __restrict__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

#define threadIdx (::fairloss::host_run::position.thread)
#define blockIdx (::fairloss::host_run::position.block)
#define blockDim (::fairloss::host_run::position.block_size)
#define gridDim (::fairloss::host_run::position.grid_size)

inline void __syncthreads() { fairloss::host_run::barrier(); }

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  fairloss::host_run::collective(fairloss::host_run::Collective::sync, mask, 0, 0);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  using namespace fairloss::host_run;
  return unsigned(collective(Collective::ballot, mask, predicate != 0, 0));
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}

// Lanes exchange within groups of `width`; a source beyond the group's end is the lane itself.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int first = fairloss::host_run::lane() & ~(width - 1);
  return fairloss::host_run::shuffle(mask, value, first + (source & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = fairloss::host_run::lane(), source = lane ^ bits;
  const bool inside = source < (lane & ~(width - 1)) + width;
  return fairloss::host_run::shuffle(mask, value, inside ? source : lane);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const int lane = fairloss::host_run::lane(), source = lane + int(distance);
  const bool inside = source < (lane & ~(width - 1)) + width;
  return fairloss::host_run::shuffle(mask, value, inside ? source : lane);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  const int lane = fairloss::host_run::lane(), source = lane - int(distance);
  const bool inside = source >= (lane & ~(width - 1));
  return fairloss::host_run::shuffle(mask, value, inside ? source : lane);
}

// Threads switch at barriers only, so these need no lock.
template <typename T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <typename T>
T atomicMax(T* address, T value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}
template <typename T>
T atomicCAS(T* address, T expected, T value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}

inline void __threadfence() {}
inline void __threadfence_block() {}

template <typename T>
T __ldg(const T* address) {
  return *address;
}

template <typename T>
void __stcg(T* address, T value) {
  *address = value;
}

// The device's short forms of functions are the host's exact ones.
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline int __float_as_int(float x) {
  int bits;
  __builtin_memcpy(&bits, &x, sizeof x);
  return bits;
}
inline float __int_as_float(int bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned(uint64_t(x) * y >> 32); }
