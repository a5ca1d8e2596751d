// fairloss/gradient_scale.h against its promises, on the float16 of matrix_view.h.
#include <initializer_list>
#include <limits>

#include "check.h"
#include "fairloss/gradient_scale.h"
#include "matrix_view.h"

using namespace fairloss;

namespace {

void the_largest_gradient_comes_into_the_top_of_float16() {
  for (int exponent = -86; exponent <= 127; ++exponent) {
    for (float fraction : {1.0f, 1.4f, 1.9999f}) {
      const float largest = std::ldexp(fraction, exponent);
      const float scaled = largest * float16_gradient_scale(largest);
      CHECK(scaled >= 0x1p14f && scaled < 0x1p15f);
    }
  }
}

void factors_are_powers_of_two_up_to_2_to_the_100() {
  for (float largest : {3e-45f, 1e-40f, 1e-30f, 0.3f, 1e20f, 3e38f}) {
    int exponent;
    CHECK(std::frexp(float16_gradient_scale(largest), &exponent) == 0.5f);
    CHECK(exponent - 1 <= 100);
  }
  CHECK(float16_gradient_scale(3e-45f) == 0x1p100f);
}

void gradients_from_2_to_the_minus_38_of_the_largest_are_not_zero() {
  for (float largest : {1.0f, 1.9999f, 1e-5f, 1e9f}) {
    const float scale = float16_gradient_scale(largest);
    const auto rounded = [&](float gradient) {
      return float16_to_float(float_to_float16(gradient * scale)) / scale;
    };
    CHECK(rounded(largest * 0x1p-38f) != 0);
    CHECK(rounded(largest * 0x1p-41f) == 0);  // below half of the least float16
    CHECK_CLOSE(rounded(largest) / largest, 1, 0x1p-11);
  }
}

void what_cannot_be_scaled_is_not() {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (float largest : {0.0f, kInfinity, std::nanf("")}) {
    CHECK(float16_gradient_scale(largest) == 1);
  }
}

}  // namespace

int main() {
  the_largest_gradient_comes_into_the_top_of_float16();
  factors_are_powers_of_two_up_to_2_to_the_100();
  gradients_from_2_to_the_minus_38_of_the_largest_are_not_zero();
  what_cannot_be_scaled_is_not();
  return failures();
}
