// The matrix product of torch's library, which is cuBLAS on a GPU.
#pragma once

#include <array>

#include "views.h"

namespace fairloss::ops {

// Calls aten::mm.<overload>, whose last argument is its output.
template <typename... Arguments>
void call_mm(const char* overload, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(arguments)> stack{torch::stable::detail::from(arguments)...};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::mm", overload, stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // releases a reference to the output
}

inline Tensor as_float(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float ? tensor
                                                   : torch::stable::to(tensor, ScalarType::Float);
}

// out = a b, summed in float32: a (m, k) and b (k, n) of float32, bfloat16 or float16, in any
// strides that mm takes; out (m, n) float32, contiguous. mm itself would round its result to the
// operands' 16 bits, and a logit of 64 with 8 bits is wrong by up to 0.125. Operands of float32 are
// rounded to TF32 where the user allows it (torch.set_float32_matmul_precision).
inline void gemm(const Tensor& a, const Tensor& b, const Tensor& out) {
  check_dtype("out", out, ScalarType::Float);
  const bool short_floats =
      a.scalar_type() != ScalarType::Float && a.scalar_type() == b.scalar_type();
  if (short_floats && on_cuda(a)) return call_mm("dtype_out", a, b, ScalarType::Float, out);
  call_mm("out", as_float(a), as_float(b), out);  // dtype_out has no kernel for the CPU
}

}  // namespace fairloss::ops
