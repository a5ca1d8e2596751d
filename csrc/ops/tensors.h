// What every op's registration needs: checks that name the argument, and views for the kernels.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>

#include "../cpu/margin_table.h"
#include "../cpu/parallel.h"
#include "../cpu/rows.h"
#include "../cuda/margin_table.h"
#include "device.h"
#include "stable.h"

#if defined(__SANITIZE_THREAD__)  // gcc
#define FAIRLOSS_THREAD_SANITIZER 1
#elif defined(__has_feature)  // clang
#define FAIRLOSS_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define FAIRLOSS_THREAD_SANITIZER 0
#endif

#if FAIRLOSS_THREAD_SANITIZER
#include <thread>
#include <vector>
#endif

namespace fairloss::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws an error that starts with the argument's name; STD_TORCH_CHECK would put a path before it.
template <typename... Parts>
void check(bool fine, const Parts&... parts) {
  if (fine) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

inline std::string shape_of(const Tensor& tensor) {
  std::string shape = "(";
  for (int64_t d = 0; d < tensor.dim(); ++d) shape += std::to_string(tensor.size(d)) + ", ";
  return shape + ")";
}

#if FAIRLOSS_THREAD_SANITIZER
// Torch's threads wait for each other in a library that was not compiled for ThreadSanitizer: every
// barrier would look like a race. It does see threads begin and end.
inline void run_tasks(int tasks, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int task = 0; task < tasks; ++task) threads.emplace_back(body, task);
  for (std::thread& thread : threads) thread.join();
}
#else
inline void run_tasks(int tasks, const std::function<void(int)>& body) {
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) body(int(task));
  });
}
#endif

// An exception in a thread would be lost or end the process: the first one is thrown here.
inline void run_and_rethrow(int tasks, const std::function<void(int)>& body) {
  std::exception_ptr first;
  std::mutex mutex;
  run_tasks(tasks, [&](int task) {
    try {
      body(task);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (first == nullptr) first = std::current_exception();
    }
  });
  if (first != nullptr) std::rethrow_exception(first);
}

inline Parallel torch_threads() { return {int(torch::stable::get_num_threads()), run_and_rethrow}; }

inline void check_shape(const char* name, const Tensor& tensor, int64_t rows) {
  check(tensor.dim() == 1 && tensor.size(0) == rows, name, ": expected shape (", rows, ",), got ",
        shape_of(tensor));
}

inline void check_shape(const char* name, const Tensor& tensor, int64_t rows, int64_t columns) {
  check(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns, name,
        ": expected shape (", rows, ", ", columns, "), got ", shape_of(tensor));
}

inline void check_type(const char* name, const Tensor& tensor, ScalarType type,
                       const char* type_name) {
  check(tensor.scalar_type() == type, name, ": expected dtype ", type_name);
}

inline Precision precision_of(const char* name, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Precision::float32;
    case ScalarType::BFloat16: return Precision::bfloat16;
    case ScalarType::Half: return Precision::float16;
    default:
      check(false, name, ": expected dtype float32, bfloat16 or float16");
      return Precision::float32;
  }
}

// A matrix whose rows may lie apart (a slice of a memory map is not copied).
inline Tensor with_unit_columns(const char* name, const Tensor& tensor) {
  check(tensor.dim() == 2, name, ": expected a matrix, got shape ", shape_of(tensor));
  const bool unit = tensor.size(1) <= 1 || tensor.stride(1) == 1;
  return unit ? tensor : torch::stable::contiguous(tensor);
}

inline Rows rows_of(const char* name, const Tensor& matrix) {
  return {matrix.const_data_ptr(), precision_of(name, matrix), matrix.size(1), matrix.stride(0)};
}

inline MutableRows rows_to(const char* name, const Tensor& matrix) {
  return {matrix.numel() == 0 ? nullptr : matrix.mutable_data_ptr(), precision_of(name, matrix),
          matrix.size(1)};
}

inline Tensor contiguous_floats(const char* name, const Tensor& tensor) {
  check_type(name, tensor, ScalarType::Float, "float32");
  return torch::stable::contiguous(tensor);
}

// A kernel that was given pointers of another device would crash, or worse.
inline void check_device(const char* name, const Tensor& tensor, const Tensor& like) {
  check(tensor.is_cpu() == like.is_cpu() && tensor.get_device_index() == like.get_device_index(),
        name, ": expected on the device of the other arguments");
}

// Whether values can be looked at here. Those on a GPU could only be waited for, and its kernels
// answer a bad one with NaN.
inline bool readable(const Tensor& tensor) {
#if defined(FAIRLOSS_HOST_RUN)
  if (std::getenv("HOST_RUN_UNCHECKED") != nullptr) return false;
#endif
  return tensor.is_cpu();
}

// Contiguous int64 values in [lowest, bound), as far as that can be seen.
inline Tensor indices(const char* name, const Tensor& tensor, int64_t lowest, int64_t bound) {
  check_type(name, tensor, ScalarType::Long, "int64");
  const Tensor values = torch::stable::contiguous(tensor);
  if (!readable(values)) return values;
  const int64_t* data = values.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    check(data[i] >= lowest && data[i] < bound, name, ": value ", data[i], " at position ", i,
          " is out of range; allowed are ", lowest, " to ", bound - 1);
  }
  return values;
}

// One number, for a kernel of CUDA to read by itself.
template <typename T>
const T* scalar_pointer(const char* name, const Tensor& tensor, const Tensor& like) {
  check(tensor.numel() == 1, name, ": expected one number, got ", tensor.numel());
  check(tensor.scalar_type() == like.scalar_type(), name, ": expected the dtype of the cosines");
  check_device(name, tensor, like);
  return tensor.const_data_ptr<T>();
}

template <typename T>
T scalar_of(const char* name, const Tensor& tensor) {
  check(tensor.numel() == 1, name, ": expected one number, got ", tensor.numel());
  if (tensor.scalar_type() == ScalarType::Double) return T(*tensor.const_data_ptr<double>());
  check_type(name, tensor, ScalarType::Float, "float32 or float64");
  return T(*tensor.const_data_ptr<float>());
}

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, type);
}

// The same for what may be hundreds of megabytes and is written at once: where the system offers
// huge pages on request, its first touch costs a third.
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

template <typename T>
const T* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<T>() : nullptr;
}

template <typename T>
constexpr ScalarType type_of() {
  return sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
}

// The margin arguments shared by margin_loss and margin_logits, checked against `labels`.
struct MarginArguments {
  Tensor labels, margins;
  std::optional<Tensor> groups;
  int64_t num_classes, rows, kind, extension;
  bool straight_through;

  MarginArguments(const Tensor& labels_, const Tensor& margins_,
                  const std::optional<Tensor>& groups_, int64_t rows_, int64_t kind_,
                  int64_t extension_, bool straight_through_)
      : margins(torch::stable::contiguous(margins_)),
        rows(rows_),
        kind(kind_),
        extension(extension_),
        straight_through(straight_through_) {
    check(rows >= 0 && rows <= 2, "rows: expected 0 to 2, got ", rows);
    check(kind >= 0 && kind <= 3, "kind: expected 0 to 3, got ", kind);
    check(extension >= 0 && extension <= 2, "extension: expected 0 to 2, got ", extension);
    const bool combined = kind == int64_t(Kind::combined);
    check(margins.dim() == (combined ? 2 : 1) && (!combined || margins.size(1) == 3),
          "margins: expected one number a row, or three with kind \"combined\", got shape ",
          shape_of(margins));
    const int64_t batch = labels_.numel(), num_rows = margins.size(0);
    num_classes = num_rows;
    if (rows == int64_t(MarginTable<float>::Rows::per_sample)) {
      check(num_rows == batch, "sample_margins: expected ", batch, " rows, one a sample, got ",
            num_rows);
      num_classes = INT64_MAX;
    } else if (rows == int64_t(MarginTable<float>::Rows::one)) {
      check(num_rows == 1, "margins: expected one row, got ", num_rows);
      num_classes = INT64_MAX;
    } else if (groups_.has_value()) {
      groups = indices("groups", *groups_, 0, num_rows);
      num_classes = groups->numel();
      check_device("groups", *groups, margins);
    }
    labels = indices("labels", labels_, -1, num_classes);
    check_device("labels", labels, margins);
  }

  template <typename T>
  MarginTable<T> table() const {
    check(margins.scalar_type() == type_of<T>(), "margins: expected the dtype of the cosines");
    return {margins.const_data_ptr<T>(),
            data_or_null<int64_t>(groups),
            typename MarginTable<T>::Rows(rows),
            Kind(kind),
            Extension(extension),
            straight_through};
  }

  template <typename T>
  cuda::MarginTable<T> cuda_table() const {
    const MarginTable<T> host = table<T>();
    return {host.values,
            host.groups,
            margins.size(0),
            num_classes,
            typename cuda::MarginTable<T>::Rows(rows),
            host.kind,
            host.extension,
            straight_through};
  }
};

}  // namespace fairloss::ops
