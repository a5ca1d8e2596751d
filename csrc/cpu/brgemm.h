// torch's own matrix product of bfloat16 (oneDNN's micro-kernels, on Intel's AMX units where the
// CPU has them), called without torch's headers and optional: see brgemm.cpp.
#pragma once

#include <cstdint>

namespace fairloss {

// Whether this torch and this CPU have it, and FAIRLOSS_ISA does not select a lower instruction
// set.
bool has_brgemm();

// C (m, n) = A (m, k) B, or += where `accumulate`. A and C are row-major; B holds pairs of rows
// interleaved, (k / 2, n, 2); k is even.
struct Brgemm {
  int64_t m, n, k;
  const uint16_t* a;
  int64_t a_stride;
  const uint16_t* b;
  int64_t b_stride;  // columns of B that are stored
  float* c;
  int64_t c_stride;
  bool accumulate;
};

void brgemm(const Brgemm& product);

// Releases the matrix units of this thread.
void brgemm_release();

}  // namespace fairloss
