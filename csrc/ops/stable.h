// Torch's stable ABI. Its functions return an error code: here the code becomes an exception with
// torch's own message, such as "CUDA out of memory", which programs look for.
#pragma once

#include <torch/headeronly/util/shim_utils.h>

#include <stdexcept>
#include <string>

#if defined(__linux__)
// In torch from 2.13 on. Default visibility: the linker does not look for a hidden symbol in other
// libraries.
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

// Used by torch's headers below, whose own definition omits the message up to 2.13.
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
