// What becomes of one cosine: its logit, and the slope of the loss there.
#pragma once

#include "cosine_partition.h"
#include "launch.cuh"

namespace fairloss::cuda {

// f(cos) of a non-target and its slope: hard negatives bend, all others keep their cosine.
struct Curve {
  float threshold, a, b, d;

  __device__ float value(float cosine) const {
    return cosine > threshold ? (a * cosine + b) * cosine + d : cosine;
  }
  __device__ float slope(float cosine) const { return cosine > threshold ? 2 * a * cosine + b : 1; }
};

__device__ inline Curve curve_of(const ClassChunk& p, int64_t sample) {
  if (p.hard_threshold == nullptr || sample >= p.batch) return {INFINITY, 0, 1, 0};
  const float* of = p.hard_coefficients;
  return {p.hard_threshold[sample], of[0], of[1], of[2]};
}

// The greatest slope of f(cos) for a cosine in [-1, 1].
__device__ inline float steepest(const float* hard_coefficients) {
  if (hard_coefficients == nullptr) return 1;
  return fmaxf(1, 2 * fabsf(hard_coefficients[0]) + fabsf(hard_coefficients[1]));
}

// The row of the chunk that holds the sample's target, -1 if it is not in it.
__device__ inline int target_row(const ClassChunk& p, int64_t sample) {
  const int64_t row = sample < p.batch && p.labels[sample] >= 0 ? p.labels[sample] - p.first : -1;
  return row < p.rows ? int(row) : -1;
}

// Fixed point of 16 bits, -32768 for NaN. Rounding of unit vectors to 16 bits can lead beyond 1.
constexpr float kFixedOne = 32767;
// A number below 2^22 added to 1.5 2^23 is rounded, and stands in the sum's lowest bits. A GPU adds
// 8 times as fast as it converts, and division is slower still; 1 stays 1.
constexpr float kWholes = 3 << 22;

__device__ inline int16_t to_fixed(float cosine) {
  const float whole = fmaf(fminf(fmaxf(cosine, -1), 1), kFixedOne, kWholes);
  return cosine != cosine ? int16_t(INT16_MIN) : int16_t(__float_as_int(whole));
}
__device__ inline float from_fixed(int16_t fixed) {
  const float whole = __int_as_float(__float_as_int(kWholes) + fixed) - kWholes;
  return fixed == INT16_MIN ? NAN : whole * (1 / kFixedOne);
}

__device__ inline float stored_cosine(float cosine) { return cosine; }
__device__ inline float stored_cosine(int16_t cosine) { return from_fixed(cosine); }

// Sums relative to their greatest logit; without terms that is -inf, and nothing is added to 0.
__device__ inline float relative(float logit, float peak) {
  return __expf(logit - (peak == -INFINITY ? 0 : peak));
}

// What kParts parts of a group found of a column, put together in their order: the greatest logit
// to out[0], the sum relative to it to out[stride].
template <int kParts>
__device__ void store_partial(const float (&peaks)[kParts][kSamples],
                              const float (&sums)[kParts][kSamples], int column, int64_t stride,
                              float* out) {
  float peak = -INFINITY, sum = 0;
  for (int w = 0; w < kParts; ++w) peak = fmaxf(peak, peaks[w][column]);
  for (int w = 0; w < kParts; ++w) sum += sums[w][column] * relative(peaks[w][column], peak);
  out[0] = peak;
  out[stride] = sum;
}

// p f(cos) and d loss / d cosine of a non-target.
struct NegativeSlope {
  float along, slope;
};

__device__ inline NegativeSlope negative_slope(float cosine, const Curve& curve, float scale,
                                               float nlse, float push) {
  const float value = curve.value(cosine);
  // Not above 0 but for rounding, which at a scale of 1e9 would be beyond what exp can take.
  const float exponent = scale * value - nlse;
  const float term = push * __expf(exponent > 0 ? 0 : exponent);
  return {term * value, term * scale * curve.slope(cosine)};
}

}  // namespace fairloss::cuda
