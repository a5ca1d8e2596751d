// Sums of exponentials that do not overflow: sum_k exp(x_k) is held as a peak and the sum of
// exp(x_k - peak). The peak is about the greatest x_k, and -inf where there are no terms.
#pragma once

#include <cmath>

#include "fairloss/inline.h"

namespace fairloss {

// e^x; of a float on a GPU the fast form, whose error is 2 + |1.17 x| ulp.
template <typename T>
FAIRLOSS_INLINE T approximate_exp(T x) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(float)) return __expf(x);
#endif
  return std::exp(x);
}

// exp(x - peak): a term of the sum, or the factor that takes a sum from peak x to another peak.
// At a peak of -inf all terms are 0.
template <typename T>
FAIRLOSS_INLINE T relative_exp(T x, T peak) {
  return approximate_exp(x - (peak == -T(INFINITY) ? T(0) : peak));
}

// log(e^peak sum), which is -inf where there are no terms (sum = 0).
FAIRLOSS_INLINE double log_sum_exp(double peak, double sum) {
  return (sum == 0 ? 0 : peak) + std::log(sum);
}

// logit - nlse, whose exponential is the probability of a class among those that nlse sums up.
// Rounding can take it above 0, at a scale of 1e9 so far that exp would overflow: it is clamped.
// T: float, double, or a vector of floats.
template <typename T>
FAIRLOSS_INLINE T log_probability(T logit, T nlse) {
  const T exponent = logit - nlse;
  return exponent > 0 ? T{} : exponent;
}

}  // namespace fairloss
