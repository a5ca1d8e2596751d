// New tensors, and tensors as the kernels take them.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <optional>

#include "checks.h"

namespace fairloss::ops {

// A matrix whose rows need not be adjacent: a slice of a memory map is not copied.
inline Tensor with_unit_columns(const char* name, const Tensor& tensor) {
  check(tensor.dim() == 2, name, ": expected 2 dimensions, got shape ", shape_of{tensor});
  const bool unit = tensor.size(1) <= 1 || tensor.stride(1) == 1;
  return unit ? tensor : torch::stable::contiguous(tensor);
}

inline MatrixView view_of(const char* name, const Tensor& matrix) {
  return {matrix.const_data_ptr(), precision_of(name, matrix), matrix.size(1), matrix.stride(0)};
}

inline MutableMatrixView mutable_view_of(const char* name, const Tensor& matrix) {
  return {matrix.numel() == 0 ? nullptr : matrix.mutable_data_ptr(), precision_of(name, matrix),
          matrix.size(1)};
}

inline Tensor contiguous_floats(const char* name, const Tensor& tensor) {
  check_dtype(name, tensor, ScalarType::Float);
  return torch::stable::contiguous(tensor);
}

template <typename T>
const T* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<T>() : nullptr;
}

template <typename T>
constexpr ScalarType type_of() {
  return sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
}

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, type);
}

// The same for a tensor that may have hundreds of megabytes and is written at once: where the
// system provides huge pages on request, its first touch costs a third.
inline Tensor empty_large(const Tensor& like, std::initializer_list<int64_t> sizes,
                          ScalarType type) {
  const Tensor tensor = empty(like, sizes, type);
#if defined(__linux__)
  if (!tensor.is_cpu()) return tensor;
  constexpr uintptr_t kHugePage = 2 << 20;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data_ptr());
  const uintptr_t end = begin + tensor.numel() * tensor.element_size();
  const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
  if (first + kHugePage <= end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
  return tensor;
}

}  // namespace fairloss::ops
