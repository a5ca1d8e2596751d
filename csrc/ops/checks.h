// Checks of arguments. Every message has the form `name: expected X, got Y`, which
// fairloss_ext/_library.py turns into a ValueError.
#pragma once

#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>

#include "../cpu/matrix_view.h"
#include "device.h"
#include "stable.h"

namespace fairloss::ops {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws an error whose message is the parts; STD_TORCH_CHECK would put a path before it.
template <typename... Parts>
void check(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

// A part that is formatted on failure alone: a call of an op makes a dozen checks.
struct shape_of {
  const Tensor& tensor;
};

// As Python prints the shape: (3,) or (3, 4).
inline std::ostream& operator<<(std::ostream& out, const shape_of& shape) {
  const Tensor& tensor = shape.tensor;
  out << "(";
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    out << (d == 0 ? "" : " ") << tensor.size(d) << (d + 1 < tensor.dim() ? "," : "");
  }
  return out << (tensor.dim() == 1 ? ",)" : ")");
}

// As Python prints the dtype, without "torch.".
inline const char* dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Byte: return "uint8";
    case ScalarType::Char: return "int8";
    case ScalarType::Short: return "int16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Bool: return "bool";
    default: return "another dtype";
  }
}

struct device_of {
  const Tensor& tensor;
};

inline std::ostream& operator<<(std::ostream& out, const device_of& device) {
  if (device.tensor.is_cpu()) return out << "cpu";
  return out << (device.tensor.is_cuda() ? "cuda:" : "device ") << device.tensor.get_device_index();
}

inline void check_shape(const char* name, const Tensor& tensor, int64_t size) {
  check(tensor.dim() == 1 && tensor.size(0) == size, name, ": expected shape (", size, ",), got ",
        shape_of{tensor});
}

inline void check_shape(const char* name, const Tensor& tensor, int64_t rows, int64_t columns) {
  check(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns, name,
        ": expected shape (", rows, ", ", columns, "), got ", shape_of{tensor});
}

inline void check_dtype(const char* name, const Tensor& tensor, ScalarType type,
                        const char* expected) {
  check(tensor.scalar_type() == type, name, ": expected dtype ", expected, ", got torch.",
        dtype_name(tensor.scalar_type()));
}

inline void check_dtype(const char* name, const Tensor& tensor, ScalarType type) {
  check_dtype(name, tensor, type, dtype_name(type));
}

// A kernel that reads pointers of another device would crash.
inline void check_device(const char* name, const Tensor& tensor, const Tensor& like) {
  check(tensor.is_cpu() == like.is_cpu() && tensor.get_device_index() == like.get_device_index(),
        name, ": expected on ", device_of{like}, ", got ", device_of{tensor});
}

inline void check_one_number(const char* name, const Tensor& tensor, ScalarType type) {
  check(tensor.numel() == 1, name, ": expected one number, got shape ", shape_of{tensor});
  check_dtype(name, tensor, type);
}

inline Precision precision_of(const char* name, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::BFloat16: return Precision::bfloat16;
    case ScalarType::Half: return Precision::float16;
    default:
      check_dtype(name, tensor, ScalarType::Float, "float32, bfloat16 or float16");
      return Precision::float32;
  }
}

// Whether values can be checked here. Reading those on a GPU would synchronize with it; its kernels
// answer an invalid one with NaN.
inline bool readable(const Tensor& tensor) {
#if defined(FAIRLOSS_HOST_RUN)
  if (std::getenv("HOST_RUN_UNCHECKED") != nullptr) return false;
#endif
  return tensor.is_cpu();
}

// Contiguous int64 values, of which the readable ones are in [low, bound).
inline Tensor indices(const char* name, const Tensor& tensor, int64_t low, int64_t bound) {
  check_dtype(name, tensor, ScalarType::Long);
  const Tensor values = torch::stable::contiguous(tensor);
  if (!readable(values)) return values;
  const int64_t* data = values.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    check(data[i] >= low && data[i] < bound, name, ": expected ", low, " to ", bound - 1, ", got ",
          data[i], " at position ", i);
  }
  return values;
}

}  // namespace fairloss::ops
