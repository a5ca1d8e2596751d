#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace fairloss {

static Isa best_isa() {
#if FAIRLOSS_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return Isa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::portable;
}

static Isa allowed_isa() {
  const char* requested = std::getenv("FAIRLOSS_ISA");
  if (requested != nullptr && std::strcmp(requested, "portable") == 0) return Isa::portable;
  if (requested != nullptr && std::strcmp(requested, "avx2") == 0) return Isa::avx2;
  return Isa::avx512;
}

Isa selected_isa() {
  static const Isa isa = allowed_isa() < best_isa() ? allowed_isa() : best_isa();
  return isa;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::portable: break;
  }
  return "portable";
}

}  // namespace fairloss
