// The device that an op runs on: the CPU, or a GPU in the current stream.
#pragma once

#include <dlfcn.h>

#include <optional>
#include <stdexcept>

#include "../cuda/cuda_types.h"
#include "stable.h"

#if !defined(FAIRLOSS_CUDA)
#define FAIRLOSS_CUDA 0  // set by the build where csrc/cuda is compiled too
#endif

namespace fairloss::ops {

// Launchers are called under `if constexpr (kHasCuda)`: a build without CUDA has none to link.
inline constexpr bool kHasCuda = FAIRLOSS_CUDA;

#if defined(FAIRLOSS_HOST_RUN)  // tests/host_run executes the CUDA kernels on CPU tensors

inline bool on_cuda(const torch::stable::Tensor&) { return true; }

class CudaStream {
 public:
  explicit CudaStream(const torch::stable::Tensor&) {}
  operator cudaStream_t() const { return nullptr; }
};

#else

inline bool on_cuda(const torch::stable::Tensor& tensor) { return tensor.is_cuda(); }

using GetStream = AOTITorchError (*)(int32_t device, void** stream);

// aoti_torch_get_current_cuda_stream of a torch with CUDA, else null: the same shared object loads
// in both. Torch loads libtorch_cuda with local symbols, which even a weak reference does not see;
// dlopen finds the loaded library by name.
inline GetStream stream_getter() {
  static const GetStream get_stream = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    void* symbol =
        library == nullptr ? nullptr : dlsym(library, "aoti_torch_get_current_cuda_stream");
    return reinterpret_cast<GetStream>(symbol);
  }();
  return get_stream;
}

// The stream to launch in. While the object exists the tensor's device is the current one.
class CudaStream {
 public:
  explicit CudaStream(const torch::stable::Tensor& tensor) : guard_(tensor.get_device_index()) {
    const GetStream get_stream = stream_getter();
    if (get_stream == nullptr) {
      throw std::runtime_error("fairloss: this torch is built without CUDA");
    }
    void* stream = nullptr;
    const AOTITorchError error = get_stream(tensor.get_device_index(), &stream);
    if (error != AOTI_TORCH_SUCCESS) throw std::runtime_error("fairloss: no current CUDA stream");
    stream_ = static_cast<cudaStream_t>(stream);
  }
  operator cudaStream_t() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
};

#endif

}  // namespace fairloss::ops

// Registers the body, which calls m.impl(name, ...), for every device that this build has kernels
// for. At most once in a file.
#if FAIRLOSS_CUDA && !defined(FAIRLOSS_HOST_RUN)
#define FAIRLOSS_IMPL(m)                                                         \
  static void fairloss_impl(torch::stable::detail::StableLibrary&);              \
  STABLE_TORCH_LIBRARY_IMPL(fairloss, CPU, library) { fairloss_impl(library); }  \
  STABLE_TORCH_LIBRARY_IMPL(fairloss, CUDA, library) { fairloss_impl(library); } \
  static void fairloss_impl(torch::stable::detail::StableLibrary& m)
#else
#define FAIRLOSS_IMPL(m) STABLE_TORCH_LIBRARY_IMPL(fairloss, CPU, m)
#endif
