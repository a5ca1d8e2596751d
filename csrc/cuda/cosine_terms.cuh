// The terms of cosines: hard negatives, the fixed point of 16 bits, partial sums of exponentials,
// and the gradient at a non-target cosine.
#pragma once

#include "cosine_partition.h"
#include "fairloss/hard_negative.h"
#include "fairloss/logsumexp.h"
#include "launch.cuh"

namespace fairloss::cuda {

__device__ inline HardNegative<float> hard_negative_of(const ClassChunk& p, int64_t sample) {
  if (p.hard_threshold == nullptr || sample >= p.batch) return {INFINITY, 0, 1, 0};
  const float* coefficients = p.hard_coefficients;
  return {p.hard_threshold[sample], coefficients[0], coefficients[1], coefficients[2]};
}

// The row of the chunk that holds the sample's target, or -1.
__device__ inline int target_row(const ClassChunk& p, int64_t sample) {
  const int64_t row = sample < p.batch && p.labels[sample] >= 0 ? p.labels[sample] - p.first : -1;
  return row < p.rows ? int(row) : -1;
}

// Fixed point of 16 bits, -32768 for NaN. Products of unit vectors rounded to 16 bits can exceed 1:
// they are clamped.
constexpr float kFixedOne = 32767;
// Adding 1.5 2^23 to a number below 2^22 rounds it, and puts it in the lowest bits of the sum. A
// GPU adds 8 times as fast as it converts, and division is slower still; 1 stays 1.
constexpr float kRoundingShift = 3 << 22;

__device__ inline int16_t to_fixed(float cosine) {
  const float shifted = fmaf(fminf(fmaxf(cosine, -1), 1), kFixedOne, kRoundingShift);
  return cosine != cosine ? int16_t(INT16_MIN) : int16_t(__float_as_int(shifted));
}
__device__ inline float from_fixed(int16_t fixed) {
  const float whole = __int_as_float(__float_as_int(kRoundingShift) + fixed) - kRoundingShift;
  return fixed == INT16_MIN ? NAN : whole * (1 / kFixedOne);
}

__device__ inline float stored_cosine(float cosine) { return cosine; }
__device__ inline float stored_cosine(int16_t cosine) { return from_fixed(cosine); }

// Merges the partial sums of kParts parts of a tile's column, in their order: the greatest logit to
// out[0], the sum relative to it to out[stride].
template <int kParts>
__device__ void store_partial(const float (&peaks)[kParts][kTileSamples],
                              const float (&sums)[kParts][kTileSamples], int column, int64_t stride,
                              float* out) {
  float peak = -INFINITY, sum = 0;
  for (int w = 0; w < kParts; ++w) peak = fmaxf(peak, peaks[w][column]);
  for (int w = 0; w < kParts; ++w) sum += sums[w][column] * relative_exp(peaks[w][column], peak);
  out[0] = peak;
  out[stride] = sum;
}

// The gradient at a non-target cosine whose sample has upstream gradient grad_nlse: that of the
// scale, grad_nlse p f(cos), and that of the cosine, grad_nlse p scale f'(cos).
struct NegativeGradient {
  float scale, cosine;
};

__device__ inline NegativeGradient negative_gradient(float cosine,
                                                     const HardNegative<float>& transform,
                                                     float scale, float nlse, float grad_nlse) {
  const float value = transform.value(cosine);
  const float term = grad_nlse * approximate_exp(log_probability(scale * value, nlse));
  return {term * value, term * scale * transform.slope(cosine)};
}

}  // namespace fairloss::cuda
