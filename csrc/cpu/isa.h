// The choice of an instruction set at run time: one build serves every x86-64 CPU.
#pragma once

namespace fairloss {

enum class Isa : int { portable = 0, avx2 = 1, avx512 = 2 };

// The best set that this build contains and this CPU supports; the environment variable
// FAIRLOSS_ISA (portable, avx2 or avx512) may lower it. Read once.
Isa selected_isa();

const char* isa_name(Isa isa);

}  // namespace fairloss

// Calls the copy of `function` compiled for the selected instruction set (see each_isa.h).
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define FAIRLOSS_X86 1
#define FAIRLOSS_CALL(function, ...)                                        \
  switch (::fairloss::selected_isa()) {                                     \
    case ::fairloss::Isa::avx512: return avx512::function(__VA_ARGS__);     \
    case ::fairloss::Isa::avx2: return avx2::function(__VA_ARGS__);         \
    case ::fairloss::Isa::portable: return portable::function(__VA_ARGS__); \
  }                                                                         \
  __builtin_unreachable()
#else
#define FAIRLOSS_X86 0
#define FAIRLOSS_CALL(function, ...) return portable::function(__VA_ARGS__)
#endif
