// fairloss/hard_negative.h against the papers' formulas, central differences and a grid of slopes.
#include <limits>
#include <vector>

#include "check.h"
#include "fairloss/hard_negative.h"

using namespace fairloss;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const std::vector<HardNegative<double>> kTransforms = {
    {0.3, 0, 1.2, 0.2},  // MV-Softmax, additive: t c + t - 1 with t = 1.2
    {-0.2, 1, 0.1, 0},   // CurricularFace: c (c + t) with t = 0.1
    {0.1, -0.4, 0.7, 0.3},
    {-1, 3, -2, 0},
};

void cosines_above_the_threshold_are_transformed() {
  const double t = 1.2;
  for (double cosine = -1; cosine <= 1; cosine += 0.01) {
    const double mv = cosine > 0.3 ? t * cosine + t - 1 : cosine;
    CHECK_CLOSE(kTransforms[0].value(cosine), mv, 1e-15);
    const double curricular = cosine > -0.2 ? cosine * (cosine + 0.1) : cosine;
    CHECK_CLOSE(kTransforms[1].value(cosine), curricular, 1e-15);
  }
}

void the_threshold_itself_is_not_above() {
  const HardNegative<double> transform{0.5, 2, 3, 4};
  CHECK(transform.value(0.5) == 0.5 && transform.slope(0.5) == 1);
  CHECK(transform.value(0.75) == 2 * 0.5625 + 3 * 0.75 + 4 && transform.slope(0.75) == 6);
}

void without_a_threshold_nothing_changes() {
  const HardNegative<double> none{kInfinity, 5, 6, 7};
  for (double cosine : {-1.0, 0.0, 1.0, 1.5}) CHECK(none.value(cosine) == cosine);
  CHECK(none.slope(1.0) == 1);
}

void nan_stays_nan() {
  for (const HardNegative<double>& f : kTransforms) CHECK(std::isnan(f.value(std::nan(""))));
}

void slopes_are_derivatives() {
  constexpr double kStep = 1e-6;
  for (const HardNegative<double>& f : kTransforms) {
    for (double cosine = -0.995; cosine < 1; cosine += 0.01) {
      if (std::fabs(cosine - f.threshold) < 1e-3) continue;
      const double slope = (f.value(cosine + kStep) - f.value(cosine - kStep)) / (2 * kStep);
      CHECK_CLOSE(f.slope(cosine), slope, 1e-8);
    }
  }
}

void no_slope_exceeds_the_bound_and_one_reaches_it() {
  for (const HardNegative<double>& f : kTransforms) {
    const double coefficients[] = {f.a, f.b, f.d}, bound = max_slope(coefficients);
    double greatest = 1;
    for (double cosine : {-1.0, -0.5, 0.0, 0.5, 1.0}) {
      const HardNegative<double> everywhere{-kInfinity, f.a, f.b, f.d};
      CHECK(std::fabs(f.slope(cosine)) <= bound);
      greatest = std::fmax(greatest, std::fabs(everywhere.slope(cosine)));
    }
    CHECK_CLOSE(bound, greatest, 1e-15);
  }
  CHECK(max_slope<double>(nullptr) == 1);
}

void float_follows_double() {
  for (const HardNegative<double>& f : kTransforms) {
    const HardNegative<float> single{float(f.threshold), float(f.a), float(f.b), float(f.d)};
    for (double cosine = -0.995; cosine < 1; cosine += 0.01) {
      if (std::fabs(cosine - f.threshold) < 1e-3) continue;
      CHECK_CLOSE(single.value(float(cosine)), f.value(cosine), 1e-6);
      CHECK_CLOSE(single.slope(float(cosine)), f.slope(cosine), 2e-6);
    }
  }
}

}  // namespace

int main() {
  cosines_above_the_threshold_are_transformed();
  the_threshold_itself_is_not_above();
  without_a_threshold_nothing_changes();
  nan_stays_nan();
  slopes_are_derivatives();
  no_slope_exceeds_the_bound_and_one_reaches_it();
  float_follows_double();
  return failures();
}
