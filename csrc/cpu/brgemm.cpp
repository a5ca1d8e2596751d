#include "brgemm.h"

#include "isa.h"

#if defined(__linux__) && defined(__x86_64__)

// Exported by libtorch_cpu (ATen/native/CPUBlas.h), but not part of its stable ABI: where a torch
// has no function of exactly these signatures the addresses are null.
namespace c10 {
struct BFloat16;
enum class ScalarType : int8_t;
}  // namespace c10

// Default visibility: the linker does not look for a hidden symbol in other libraries.
#define FAIRLOSS_OPTIONAL [[gnu::weak, gnu::visibility("default")]]

namespace at::native::cpublas {
FAIRLOSS_OPTIONAL void brgemm(int64_t m, int64_t n, int64_t k, int64_t a_stride, int64_t b_stride,
                              int64_t c_stride, bool accumulate, const c10::BFloat16* a,
                              const c10::BFloat16* b, float* c, bool interleaved);
FAIRLOSS_OPTIONAL void brgemm_release(bool interleaved);
FAIRLOSS_OPTIONAL bool could_pack(c10::ScalarType type);
}  // namespace at::native::cpublas

namespace fairloss {

namespace torch_blas = at::native::cpublas;

bool has_brgemm() {
  constexpr c10::ScalarType kBFloat16{15};
  static const bool available = selected_isa() == Isa::avx512 && torch_blas::brgemm != nullptr &&
                                torch_blas::brgemm_release != nullptr &&
                                torch_blas::could_pack != nullptr &&
                                torch_blas::could_pack(kBFloat16);
  return available;
}

void brgemm(const Brgemm& p) {
  torch_blas::brgemm(p.m, p.n, p.k, p.a_stride, p.b_stride, p.c_stride, p.accumulate,
                     reinterpret_cast<const c10::BFloat16*>(p.a),
                     reinterpret_cast<const c10::BFloat16*>(p.b), p.c, true);
}

void brgemm_release() { torch_blas::brgemm_release(true); }

}  // namespace fairloss

#else

namespace fairloss {

bool has_brgemm() { return false; }
void brgemm(const Brgemm&) {}
void brgemm_release() {}

}  // namespace fairloss

#endif
