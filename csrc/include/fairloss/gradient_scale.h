// The factor that brings gradients of cosines into the range of float16, in which they are operands
// of products (as torch's GradScaler does for a whole network).
#pragma once

#include <cmath>

#include "fairloss/inline.h"

namespace fairloss {

// A power of 2 that takes the largest gradient, in magnitude, into [2^14, 2^15): float16 ends at
// 65504 < 2^16. Its smallest positive number is 2^-24, so a gradient that is at least 2^-39 of the
// largest one, or 2^-38 where that is near 2^14, is not rounded to 0.
// At most 2^100, as 2^128 is infinite: gradients that would need more are below 2^-86. 1 where the
// largest gradient is 0, infinite or NaN.
FAIRLOSS_INLINE float float16_gradient_scale(float largest) {
  if (!(largest > 0 && largest < INFINITY)) return 1;
  return std::ldexp(1.0f, int(std::fmin(100.0f, 14 - std::floor(std::log2(largest)))));
}

}  // namespace fairloss
