// fairloss/norm.h: inverse norms at the ends of double, angles at 0 and pi.
#include <initializer_list>

#include "check.h"
#include "fairloss/norm.h"

using namespace fairloss;

namespace {

constexpr double kPi = 3.14159265358979323846;

void short_vectors_have_no_direction() {
  CHECK(inverse_norm(0.0) == 0 && inverse_norm(0.99e-24) == 0);
  CHECK_CLOSE(inverse_norm(1.01e-24) * std::sqrt(1.01e-24), 1, 1e-7);
  CHECK_CLOSE(inverse_norm(1e76) * 1e38, 1, 1e-7);
  CHECK(std::isnan(inverse_norm(std::nan(""))));
  CHECK(float_holds(1) && !float_holds(1e-30f) && !float_holds(2e38f) && !float_holds(NAN));
}

void angles_are_exact_at_both_ends() {
  for (double angle : {0.0, 1e-12, 1e-6, 0.5, kPi / 2, 3.0}) {
    const double difference = 2 * std::sin(angle / 2), sum = 2 * std::cos(angle / 2);
    const double got = angle_from_chords(difference * difference, sum * sum);
    CHECK_CLOSE(got, angle, 1e-15 * (1 + angle) * angle + 1e-300);
    const double opposite = angle_from_chords(sum * sum, difference * difference);
    CHECK_CLOSE(opposite, kPi - angle, 1e-15);
  }
}

}  // namespace

int main() {
  short_vectors_have_no_direction();
  angles_are_exact_at_both_ends();
  return failures();
}
