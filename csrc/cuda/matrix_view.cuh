// Reads rows of float, bfloat16 or float16 as float.
#pragma once

#include "convert.cuh"
#include "matrix_view.h"
#include "vector.cuh"

namespace fairloss::cuda {

// Whether every row begins at a multiple of 16 bytes.
template <typename T>
bool is_aligned(const MatrixView<T>& matrix) {
  return is_aligned(matrix.data) && matrix.stride * sizeof(T) % 16 == 0;
}

template <int kCount>
struct Floats {
  float lane[kCount];
};

// kCount columns of a row from `column` on, 0 beyond the last one. vectors: the row is aligned, and
// `column` a multiple of kCount.
template <int kCount, typename T>
__device__ Floats<kCount> load_floats(const T* row, int64_t column, int64_t columns, bool vectors) {
  constexpr int kLanes = Vector<T>::kLanes;
  static_assert(kCount % kLanes == 0, "whole vectors");
  Floats<kCount> out;
  if (vectors && column + kCount <= columns) {
    for (int v = 0; v < kCount; v += kLanes) {
      const Vector<T> vector = load_vector(row + column + v);
      for (int l = 0; l < kLanes; ++l) out.lane[v + l] = to_float(vector.lane[l]);
    }
  } else {
    for (int l = 0; l < kCount; ++l) {
      out.lane[l] = column + l < columns ? to_float(row[column + l]) : 0.0f;
    }
  }
  return out;
}

}  // namespace fairloss::cuda
