#pragma once

#include "cuda_types.h"

namespace fairloss::cuda {

template <typename T>
struct MatrixView {  // (rows, columns), unit column stride; T is float, __nv_bfloat16 or __half
  const T* data;
  int64_t columns, stride;  // stride: elements from one row to the next
};

}  // namespace fairloss::cuda
