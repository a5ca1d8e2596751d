// Lengths of vectors and angles between unit vectors.
#pragma once

#include <cmath>

#include "fairloss/inline.h"

namespace fairloss {

// A shorter vector has no direction: its cosines and its gradient are 0. F.normalize uses the same
// bound, but lets the gradient grow to 1e12.
constexpr double kShortestNorm = 1e-12;

// 1 / norm of a vector whose squares were summed in double: the square of a large bfloat16 is
// infinite in float, that of a small one 0. NaN stays NaN.
FAIRLOSS_INLINE float inverse_norm(double squared) {
  const double norm = std::sqrt(squared);
  return norm < kShortestNorm ? 0.0f : float(1 / norm);
}

// Whether a sum of squares in float is far from its overflow and from its subnormal numbers.
FAIRLOSS_INLINE bool float_holds(float squared) { return squared > 1e-20f && squared < 1e38f; }

// The angle between unit vectors a and b, accurate at 0 and pi alike (Kahan):
// 2 atan2(|a - b|, |a + b|), from the squared lengths of difference and sum.
template <typename T>
FAIRLOSS_INLINE T angle_from_chords(T difference_squared, T sum_squared) {
  return T(2) * std::atan2(std::sqrt(difference_squared), std::sqrt(sum_squared));
}

}  // namespace fairloss
