// The one matrix product that ops leave to torch's library, which is cuBLAS on a GPU.
#pragma once

#include <array>

#include "tensors.h"

namespace fairloss::ops {

// Calls aten::mm.<overload>, whose last argument is the tensor it writes to.
template <typename... Arguments>
void call_mm(const char* overload, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(arguments)> stack{torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::mm", overload, stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // it owns a reference to that tensor
}

inline Tensor as_float(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float ? tensor
                                                   : torch::stable::to(tensor, ScalarType::Float);
}

// out = a b, summed in float32 whatever the operands are: a (m, k) and b (k, n) of float32,
// bfloat16 or float16, in any strides that mm takes; out (m, n) float32, contiguous. mm itself
// would round its result to the operands' 16 bits, and a logit of 64 with 8 bits is wrong by 0.125.
// Factors of float32 may be rounded to TF32 where the user has allowed torch to.
inline void gemm(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_type("out", out, ScalarType::Float, "float32");
  const bool short_floats =
      a.scalar_type() != ScalarType::Float && a.scalar_type() == b.scalar_type();
  if (short_floats && on_cuda(a)) return call_mm("dtype_out", a, b, ScalarType::Float, out);
  call_mm("out", as_float(a), as_float(b), out);  // dtype_out has no kernel for the CPU
}

}  // namespace fairloss::ops
