// Compiles the file named by FAIRLOSS_KERNEL (the one that includes this header) once per
// instruction set, in namespace fairloss::FAIRLOSS_ISA with FAIRLOSS_LANES floats a vector and
// FAIRLOSS_ROWS rows in the register tile of gemm.h. Headers with shared inline functions must be
// included before: here every function is compiled for the instruction set, and the linker could
// keep that copy for CPUs that lack the set.
#include "isa.h"

#define FAIRLOSS_ISA portable
#define FAIRLOSS_LANES 4
#define FAIRLOSS_ROWS 4  // 8 of 16 (SSE, NEON: 32) registers hold sums
#include FAIRLOSS_KERNEL
#undef FAIRLOSS_ISA
#undef FAIRLOSS_LANES
#undef FAIRLOSS_ROWS

#if FAIRLOSS_X86

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define FAIRLOSS_ISA avx2
#define FAIRLOSS_LANES 8
#define FAIRLOSS_ROWS 6  // 12 of 16 registers hold sums
#include FAIRLOSS_KERNEL
#undef FAIRLOSS_ISA
#undef FAIRLOSS_LANES
#undef FAIRLOSS_ROWS
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#endif
#define FAIRLOSS_ISA avx512
#define FAIRLOSS_LANES 16
#define FAIRLOSS_ROWS 12  // 24 of 32 registers hold sums
#include FAIRLOSS_KERNEL
#undef FAIRLOSS_ISA
#undef FAIRLOSS_LANES
#undef FAIRLOSS_ROWS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif  // FAIRLOSS_X86
