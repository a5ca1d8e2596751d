// Matrices as CUDA kernels take them, and parts of matrices.
#pragma once

#include "../cuda/matrix_view.h"
#include "views.h"

namespace fairloss::ops {

template <typename T>
struct CudaType {
  using Type = T;
};

constexpr ScalarType scalar_type(Precision precision) {
  return precision == Precision::float32    ? ScalarType::Float
         : precision == Precision::bfloat16 ? ScalarType::BFloat16
                                            : ScalarType::Half;
}

// Calls body(CudaType<T>()) with the element type T of a precision.
template <typename Body>
void with_cuda_type(Precision precision, const Body& body) {
  switch (precision) {
    case Precision::float32: return body(CudaType<float>());
    case Precision::bfloat16: return body(CudaType<__nv_bfloat16>());
    case Precision::float16: return body(CudaType<__half>());
  }
}

template <typename T>
T* pointer_to(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}
inline float* floats(const Tensor& tensor) { return pointer_to<float>(tensor); }

template <typename T>
cuda::MatrixView<T> cuda_view(const Tensor& matrix) {
  return {static_cast<const T*>(matrix.const_data_ptr()), matrix.size(1), matrix.stride(0)};
}

// A matrix in the elements [first, first + rows * columns) of a scratch buffer.
inline Tensor matrix_in(const Tensor& scratch, int64_t first, int64_t rows, int64_t columns) {
  Tensor whole = scratch;  // narrow takes no const
  return torch::stable::view(torch::stable::narrow(whole, 0, first, rows * columns),
                             {rows, columns});
}

inline Tensor rows_in(const Tensor& matrix, int64_t first, int64_t rows) {
  Tensor whole = matrix;
  return torch::stable::narrow(whole, 0, first, rows);
}

// The same rows, and zeros after them up to `rows` in all.
inline Tensor with_zero_rows(const Tensor& matrix, int64_t rows) {
  if (matrix.size(0) == rows) return matrix;
  const Tensor padded = torch::stable::new_zeros(matrix, {rows, matrix.size(1)});
  Tensor head = rows_in(padded, 0, matrix.size(0));
  torch::stable::copy_(head, matrix);
  return padded;
}

inline Tensor transposed(const Tensor& matrix) { return torch::stable::transpose(matrix, 0, 1); }

}  // namespace fairloss::ops
