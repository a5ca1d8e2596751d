// Matrices of float32, bfloat16 or float16, whose rows are read and written as float.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "fairloss/norm.h"

namespace fairloss {

// Positions are those of COMPUTE_DTYPES in fairloss_ext/options.py.
enum class Precision : int { float32, bfloat16, float16 };

inline float bfloat16_to_float(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

inline uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return 0x7fc0;
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to nearest, ties to even
}

inline float float16_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000) << 16;
  const uint32_t rest = bits & 0x7fff;
  if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000u | ((rest & 0x3ff) << 13));
  if (rest >= 0x0400) return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000u));
  const float tiny = float(rest) * 0x1p-24f;  // subnormal: an integer number of 2^-24
  return sign ? -tiny : tiny;
}

inline uint16_t float_to_float16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;   // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // rounds beyond 65504: infinity
  if (magnitude < 0x38800000) {                       // below 2^-14: subnormal, ulp 2^-24
    return sign | uint16_t(std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f));
  }
  const uint32_t even = (magnitude >> 13) & 1;
  return sign | uint16_t((magnitude + 0xfff + even - 0x38000000u) >> 13);
}

// Calls body(type(), to_float, from_float) with the element type of a precision and its
// conversions.
template <typename Body>
inline void with_precision(Precision precision, const Body& body) {
  const auto same = [](float value) { return value; };
  switch (precision) {
    case Precision::float32: return body(float(), same, same);
    case Precision::bfloat16:
      return body(
          uint16_t(), [](uint16_t bits) { return bfloat16_to_float(bits); },
          [](float value) { return float_to_bfloat16(value); });
    case Precision::float16:
      return body(
          uint16_t(), [](uint16_t bits) { return float16_to_float(bits); },
          [](float value) { return float_to_float16(value); });
  }
}

struct MatrixView {  // (rows, columns), unit column stride
  const void* data;
  Precision precision;
  int64_t columns;
  int64_t stride;  // elements from one row to the next

  void load(int64_t row, float* out) const {
    with_precision(precision, [&](auto type, auto to_float, auto) {
      const auto* in = static_cast<const decltype(type)*>(data) + row * stride;
      for (int64_t d = 0; d < columns; ++d) out[d] = to_float(in[d]);
    });
  }
};

struct MutableMatrixView {  // (rows, columns), contiguous
  void* data;
  Precision precision;
  int64_t columns;

  void store(int64_t row, const float* in) const {
    with_precision(precision, [&](auto type, auto, auto from_float) {
      auto* out = static_cast<decltype(type)*>(data) + row * columns;
      for (int64_t d = 0; d < columns; ++d) out[d] = from_float(in[d]);
    });
  }
};

// Summed in double, for rows whose squares float does not hold.
inline float careful_inverse_norm(const float* row, int64_t columns) {
  double squared = 0;
  for (int64_t d = 0; d < columns; ++d) squared += double(row[d]) * double(row[d]);
  return inverse_norm(squared);
}

}  // namespace fairloss
