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

// kCount numbers from an address that is aligned to 16 bytes.
template <int kCount, typename T>
__device__ Floats<kCount> load_aligned_floats(const T* address) {
  constexpr int kLanes = Vector<T>::kLanes;
  static_assert(kCount % kLanes == 0, "whole vectors");
  Floats<kCount> out;
  for (int v = 0; v < kCount; v += kLanes) {
    const Vector<T> vector = load_vector(address + v);
    for (int l = 0; l < kLanes; ++l) out.lane[v + l] = to_float(vector.lane[l]);
  }
  return out;
}

// kCount columns of a row from `column` on, 0 beyond the last one. vectors: the row is aligned, and
// `column` a multiple of kCount.
template <int kCount, typename T>
__device__ Floats<kCount> load_floats(const T* row, int64_t column, int64_t columns, bool vectors) {
  if (vectors && column + kCount <= columns) return load_aligned_floats<kCount>(row + column);
  Floats<kCount> out;
  for (int l = 0; l < kCount; ++l) {
    out.lane[l] = column + l < columns ? to_float(row[column + l]) : 0.0f;
  }
  return out;
}

}  // namespace fairloss::cuda
