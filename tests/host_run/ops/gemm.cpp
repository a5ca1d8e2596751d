// Lets the products of csrc/ops/gemm.h run as they do on a GPU, and be tested by themselves: on CPU
// tensors torch has no mm.dtype_out, so here is one.
#include "../../../csrc/ops/gemm.h"

namespace fairloss::ops {

static Tensor mm_dtype_out(const Tensor& a, const Tensor& b, ScalarType type, const Tensor& out) {
  check(type == ScalarType::Float, "mm.dtype_out: expected float32");
  check(a.scalar_type() == b.scalar_type() && a.scalar_type() != ScalarType::Float,
        "mm.dtype_out: expected two matrices of bfloat16, or of float16");
  gemm(as_float(a), as_float(b), out);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(aten, CPU, m) { m.impl("mm.dtype_out", TORCH_BOX(&mm_dtype_out)); }

STABLE_TORCH_LIBRARY(fairloss_host_run, m) {
  m.def("gemm(Tensor a, Tensor b, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss_host_run, CPU, m) { m.impl("gemm", TORCH_BOX(&gemm)); }

}  // namespace fairloss::ops
