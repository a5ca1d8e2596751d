// Torch's stable ABI. A failed call of it answers with a code: here the error gets torch's own
// message, "CUDA out of memory" above all, which programs look for.
#pragma once

#include <torch/headeronly/util/shim_utils.h>

#include <stdexcept>
#include <string>

#if defined(__linux__)
// Torch has it from 2.13 on. Not hidden, or it would not be looked for in other libraries.
extern "C" [[gnu::weak, gnu::visibility("default")]] const char*
torch_exception_get_what_without_backtrace();
#endif

namespace fairloss::ops {

[[noreturn]] inline void throw_torch_error(const char* call) {
#if defined(__linux__)
  if (torch_exception_get_what_without_backtrace != nullptr) {
    throw std::runtime_error(torch_exception_get_what_without_backtrace());
  }
#endif
  throw std::runtime_error(std::string(call) + " failed; torch may say on stderr why");
}

}  // namespace fairloss::ops

// Torch's headers below use it; ones after 2.13 may do the same by themselves.
#undef TORCH_ERROR_CODE_CHECK
#define TORCH_ERROR_CODE_CHECK(call)         \
  if ((call) != TORCH_SUCCESS) {             \
    fairloss::ops::throw_torch_error(#call); \
  }

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
