// The hard-negative transform f of MV-Softmax and CurricularFace: a non-target cosine c above a
// threshold becomes a c^2 + b c + d, any other cosine stays as it is. T: float, double, or a vector
// of floats.
#pragma once

#include <cmath>

#include "fairloss/inline.h"

namespace fairloss {

template <typename T>
struct HardNegative {
  T threshold, a, b, d;

  FAIRLOSS_INLINE T value(T cosine) const {
    return cosine > threshold ? (a * cosine + b) * cosine + d : cosine;
  }
  FAIRLOSS_INLINE T slope(T cosine) const {  // f'
    return cosine > threshold ? 2 * a * cosine + b : T{} + 1;
  }
};

// A bound of |f'| for cosines in [-1, 1], where |2 a c + b| <= 2 |a| + |b|; f' is 1 below the
// threshold. coefficients: (a, b, d), or null where there is no transform.
template <typename T>
FAIRLOSS_INLINE T max_slope(const T* coefficients) {
  if (coefficients == nullptr) return 1;
  return std::fmax(T(1), 2 * std::fabs(coefficients[0]) + std::fabs(coefficients[1]));
}

}  // namespace fairloss
