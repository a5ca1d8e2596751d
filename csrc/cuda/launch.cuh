// Launches, shared memory and the CUDA headers. nvcc compiles the kernels for a GPU; g++ compiles
// the same sources for tests/host_run, which executes them on fibers. For both, kernels use
//   1. launch(kernel, config, arguments...) instead of kernel<<<...>>>(...);
//   2. FAIRLOSS_SHARED and FAIRLOSS_DYNAMIC_SHARED instead of __shared__;
//   3. warp collectives with a mask (*_sync) only, and no inline PTX outside of wrapper functions.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda_types.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#else
#include "simt.h"  // tests/host_run
#endif

namespace fairloss::cuda {

constexpr int kWarp = 32;
constexpr int kThreads = 256;  // of a block, unless a kernel needs another number
constexpr unsigned kAllLanes = 0xffffffffu;

struct LaunchConfig {
  int64_t blocks;
  int threads;
  int64_t shared_bytes;  // dynamic
  cudaStream_t stream;
};

// Most blocks of a grid whose threads stride over the work: 2048 blocks of 256 threads keep the 148
// multiprocessors of today's largest GPU full (8 blocks each). It depends on no device, so the
// order of every sum is the same on all. The host run has a few blocks, so that every loop repeats.
#if defined(__CUDACC__)
inline int64_t max_blocks() { return 2048; }
#else
inline int64_t max_blocks() { return host_run::max_blocks(); }
#endif

// Blocks for `work` units at `per_block` each; kernels stride over what is beyond the maximum.
inline int64_t blocks_for(int64_t work, int64_t per_block) {
  return std::min<int64_t>((work + per_block - 1) / per_block, max_blocks());
}

#if defined(__CUDACC__)

inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // resets the error, which the next launch would report again
  throw std::runtime_error(std::string("fairloss: ") + what + ": " + cudaGetErrorString(error));
}

// Allows `kernel` on the current device so many bytes of dynamic shared memory. CUDA is asked once
// per kernel and device, because the call takes time on the host.
inline void allow_shared(const void* kernel, int64_t bytes) {
  static std::mutex mutex;
  static std::map<std::pair<const void*, int>, int64_t> allowed_bytes;
  int device;
  check_cuda(cudaGetDevice(&device), "device");
  const std::lock_guard<std::mutex> lock(mutex);
  int64_t& allowed = allowed_bytes[{kernel, device}];
  if (bytes <= allowed) return;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
             "shared memory");
  allowed = bytes;
}

// Starts `kernel` in the stream, without waiting for it. No blocks: no launch.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchConfig& config, Arguments... arguments) {
  if (config.blocks == 0) return;
  constexpr int64_t kDefaultShared = 48 << 10;  // beyond it a kernel needs the attribute
  if (config.shared_bytes > kDefaultShared) {
    allow_shared(reinterpret_cast<const void*>(kernel), config.shared_bytes);
  }
  kernel<<<dim3(unsigned(config.blocks)), config.threads, config.shared_bytes, config.stream>>>(
      arguments...);
  check_cuda(cudaGetLastError(), "launch");
}

// A static array of shared memory: FAIRLOSS_SHARED(float, tile, [32][33]).
#define FAIRLOSS_SHARED(type, name, extent) __shared__ type name extent

// The launch's dynamic shared memory as a pointer, aligned for 16-byte vectors.
#define FAIRLOSS_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char fairloss_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(fairloss_dynamic_shared)

#else

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchConfig& config, Arguments... arguments) {
  host_run::run_grid(config.blocks, config.threads, config.shared_bytes,
                     [&] { kernel(arguments...); });
}

#define FAIRLOSS_SHARED(type, name, extent)         \
  typedef type name##_array extent;                 \
  static const char name##_site = 0;                \
  name##_array& name = *static_cast<name##_array*>( \
      ::fairloss::host_run::shared(&name##_site, sizeof(name##_array), alignof(name##_array)))

#define FAIRLOSS_DYNAMIC_SHARED(type, name) \
  type* name = static_cast<type*>(::fairloss::host_run::dynamic_shared())

#endif

// Position in a one-dimensional grid, in 64 bits: 32 would overflow beyond 2^32 threads.
__device__ inline int64_t thread_index() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t thread_count() { return int64_t(gridDim.x) * blockDim.x; }
__device__ inline int64_t warp_index() { return thread_index() / kWarp; }
__device__ inline int64_t warp_count() { return thread_count() / kWarp; }
__device__ inline int lane_index() { return int(threadIdx.x % kWarp); }

}  // namespace fairloss::cuda
