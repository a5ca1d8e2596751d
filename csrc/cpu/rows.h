// Matrices of float32, bfloat16 or float16 rows, read and written as float.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace fairloss {

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

struct Rows {  // (rows, columns), unit column stride
  const void* data;
  Precision precision;
  int64_t columns;
  int64_t stride;  // elements from one row to the next

  void load(int64_t row, float* out) const {
    const int64_t start = row * stride;
    switch (precision) {
      case Precision::float32: {
        const float* in = static_cast<const float*>(data) + start;
        for (int64_t d = 0; d < columns; ++d) out[d] = in[d];
        break;
      }
      case Precision::bfloat16: {
        const uint16_t* in = static_cast<const uint16_t*>(data) + start;
        for (int64_t d = 0; d < columns; ++d) out[d] = bfloat16_to_float(in[d]);
        break;
      }
      case Precision::float16: {
        const uint16_t* in = static_cast<const uint16_t*>(data) + start;
        for (int64_t d = 0; d < columns; ++d) out[d] = float16_to_float(in[d]);
        break;
      }
    }
  }
};

struct MutableRows {  // (rows, columns), contiguous
  void* data;
  Precision precision;
  int64_t columns;

  void store(int64_t row, const float* in) const {
    const int64_t start = row * columns;
    switch (precision) {
      case Precision::float32: {
        float* out = static_cast<float*>(data) + start;
        for (int64_t d = 0; d < columns; ++d) out[d] = in[d];
        break;
      }
      case Precision::bfloat16: {
        uint16_t* out = static_cast<uint16_t*>(data) + start;
        for (int64_t d = 0; d < columns; ++d) out[d] = float_to_bfloat16(in[d]);
        break;
      }
      case Precision::float16: {
        uint16_t* out = static_cast<uint16_t*>(data) + start;
        for (int64_t d = 0; d < columns; ++d) out[d] = float_to_float16(in[d]);
        break;
      }
    }
  }
};

// A vector shorter than this has no direction: its cosines and its gradient are 0. F.normalize uses
// the same bound, but lets the gradient grow to 1e12.
constexpr double kShortestNorm = 1e-12;

// Summed in double: the square of a large bfloat16 is infinite in float.
inline float careful_inverse_norm(const float* row, int64_t columns) {
  double squared = 0;
  for (int64_t d = 0; d < columns; ++d) squared += double(row[d]) * double(row[d]);
  const double norm = std::sqrt(squared);
  return norm < kShortestNorm ? 0.0f : float(1.0 / norm);  // NaN stays NaN
}

}  // namespace fairloss
