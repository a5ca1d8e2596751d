// mm.dtype_out, which torch has on a GPU only: with it the products of csrc/ops/gemm.h run as they
// do on a GPU. And gemm as an op, for test_gemm.py.
#include "../../../csrc/ops/gemm.h"

namespace fairloss::ops {

static Tensor mm_dtype_out(const Tensor& a, const Tensor& b, ScalarType type, const Tensor& out) {
  check(type == ScalarType::Float, "out_dtype: expected float32, got ", dtype_name(type));
  check(a.scalar_type() != ScalarType::Float, "a: expected 16 bits, got float32");
  check_dtype("b", b, a.scalar_type());
  gemm(as_float(a), as_float(b), out);
  return out;
}

STABLE_TORCH_LIBRARY_IMPL(aten, CPU, m) { m.impl("mm.dtype_out", TORCH_BOX(&mm_dtype_out)); }

STABLE_TORCH_LIBRARY(fairloss_host_run, m) {
  m.def("gemm(Tensor a, Tensor b, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss_host_run, CPU, m) { m.impl("gemm", TORCH_BOX(&gemm)); }

}  // namespace fairloss::ops
