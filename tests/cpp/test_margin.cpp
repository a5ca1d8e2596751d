// The target transform and the loss of fairloss/margin.h against formulas and central differences.
#include <limits>
#include <vector>

#include "check.h"
#include "fairloss/margin.h"

using namespace fairloss;

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr double kStep = 1e-6;  // central differences: error of order step^2 + 1e-16 / step
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const std::vector<Margin<double>> kMargins = {
    {1, 0, 0}, {1, 0.5, 0}, {1, 0, 0.35}, {1.35, 0, 0}, {4, 0, 0}, {0.9, 0.4, 0.15}, {1, 0.3, 0.2},
};
const Extension kExtensions[] = {Extension::linear, Extension::easy, Extension::none};

double phi(double cosine, const Margin<double>& margin, Extension extension) {
  return target_transform(cosine, margin, extension, false).value;
}

template <typename F>
double slope(const F& f, double x) {
  return (f(x + kStep) - f(x - kStep)) / (2 * kStep);
}

// Whether a step of the differences crosses a jump or a kink of the transform.
bool near_a_kink(double cosine, const Margin<double>& m) {
  const double angle = m.m1 * std::acos(cosine) + m.m2;
  return std::fabs(std::remainder(angle, kPi)) < 1e-3 || std::fabs(cosine) < 1e-3;
}

void values_equal_the_papers_formulas() {
  for (double cosine = -0.995; cosine < 1; cosine += 0.01) {
    const double theta = std::acos(cosine);
    for (const Margin<double>& m : kMargins) {
      const double plain = std::cos(m.m1 * theta + m.m2) - m.m3;
      CHECK_CLOSE(phi(cosine, m, Extension::none), plain, 1e-14);
      CHECK_CLOSE(phi(cosine, m, Extension::easy), cosine > 0 ? plain : cosine, 1e-14);
      if (m.m1 * theta + m.m2 <= kPi) CHECK_CLOSE(phi(cosine, m, Extension::linear), plain, 1e-14);
    }
    if (theta + 0.5 > kPi) {  // ArcFace's own continuation
      CHECK_CLOSE(phi(cosine, {1, 0.5, 0}, Extension::linear), cosine - 0.5 * std::sin(0.5), 1e-14);
    }
    const int k = int(4 * theta / kPi);  // SphereFace's psi
    const double psi = (k % 2 == 0 ? 1 : -1) * std::cos(4 * theta) - 2 * k;
    CHECK_CLOSE(phi(cosine, {4, 0, 0}, Extension::linear), psi, 1e-14);
  }
}

void linear_extension_never_turns_back() {
  for (const Margin<double>& m : kMargins) {
    double before = phi(-1, m, Extension::linear);
    for (double theta = kPi; theta >= 0; theta -= 1e-3) {
      const double now = phi(std::cos(theta), m, Extension::linear);
      CHECK(now >= before - 1e-12);
      before = now;
    }
  }
  for (double theta : {kPi / 4, kPi / 2, 3 * kPi / 4}) {  // SphereFace's branches meet
    const double left = phi(std::cos(theta - 1e-9), {4, 0, 0}, Extension::linear);
    const double right = phi(std::cos(theta + 1e-9), {4, 0, 0}, Extension::linear);
    CHECK_CLOSE(left, right, 1e-7);
  }
}

void derivatives_are_slopes() {
  for (double cosine = -0.99; cosine < 0.995; cosine += 0.013) {
    for (const Margin<double>& m : kMargins) {
      if (near_a_kink(cosine, m)) continue;
      for (Extension extension : kExtensions) {
        const Target<double> target = target_transform(cosine, m, extension, false);
        const auto derivative = [&](double Margin<double>::* part) {
          return slope(
              [&](double x) {
                Margin<double> changed = m;
                changed.*part = x;
                return phi(cosine, changed, extension);
              },
              m.*part);
        };
        const double d_cosine = slope([&](double x) { return phi(x, m, extension); }, cosine);
        CHECK_CLOSE(target.d_cosine, d_cosine, 1e-5 * (1 + std::fabs(d_cosine)));
        CHECK_CLOSE(target.d_m3, derivative(&Margin<double>::m3), 1e-8);
        const bool easy = extension == Extension::easy && cosine <= 0;
        if (easy) CHECK(target.d_m1 == 0 && target.d_m2 == 0 && target.d_m3 == 0);
        const double angle = m.m1 * std::acos(cosine) + m.m2;
        const bool folded = extension == Extension::linear && angle > kPi;
        CHECK_CLOSE(target.d_m2, derivative(&Margin<double>::m2), 1e-7);
        // ArcFace's continuation does not depend on m1: any other m1 is SphereFace's.
        if (!(folded && m.m1 == 1)) CHECK_CLOSE(target.d_m1, derivative(&Margin<double>::m1), 1e-7);
      }
    }
  }
}

void poles_are_finite() {
  for (const Margin<double>& m : kMargins) {
    for (Extension extension : kExtensions) {
      for (double cosine : {-1.0 - 1e-6, -1.0, 1.0, 1.0 + 1e-6}) {
        const Target<double> target = target_transform(cosine, m, extension, false);
        for (double part : {target.value, target.d_cosine, target.d_m1, target.d_m2, target.d_m3}) {
          CHECK(std::isfinite(part));
        }
        CHECK(target.d_cosine <= 1000 * m.m1 + 1);
      }
    }
  }
  // At 1 the value is cos(m2), and the slope that of an angle of 1e-3.
  const Target<double> top = target_transform(1.0, {1, 0.5, 0}, Extension::none, false);
  CHECK_CLOSE(top.value, std::cos(0.5), 1e-15);
  CHECK_CLOSE(top.d_cosine, std::sin(0.5 + 1e-3) / 1e-3, 1e-3);
  CHECK(std::isnan(phi(kNaN, {1, 0.5, 0}, Extension::linear)));
}

void straight_through_keeps_the_value() {
  for (const Margin<double>& m : kMargins) {
    const Target<double> exact = target_transform(0.3, m, Extension::linear, false);
    const Target<double> through = target_transform(0.3, m, Extension::linear, true);
    CHECK(through.value == exact.value && through.d_cosine == 1 && through.d_m2 == exact.d_m2);
  }
}

void float_follows_double() {
  for (double cosine = -0.995; cosine < 1; cosine += 0.01) {
    for (const Margin<double>& m : kMargins) {
      if (near_a_kink(cosine, m)) continue;
      const Margin<float> single = {float(m.m1), float(m.m2), float(m.m3)};
      const Target<double> d = target_transform(cosine, m, Extension::linear, false);
      const Target<float> f = target_transform(float(cosine), single, Extension::linear, false);
      CHECK_CLOSE(f.value, d.value, 4e-6);
      CHECK_CLOSE(f.d_cosine, d.d_cosine, 2e-4 * (1 + std::fabs(d.d_cosine)));
      CHECK_CLOSE(f.d_m2, d.d_m2, 4e-6);
    }
  }
}

void kinds_fill_their_part() {
  const double one[] = {0.4}, three[] = {1.1, 0.2, 0.3};
  CHECK(margin_from(Kind::arc, one).m2 == 0.4 && margin_from(Kind::arc, one).m1 == 1);
  CHECK(margin_from(Kind::cos, one).m3 == 0.4 && margin_from(Kind::cos, one).m2 == 0);
  CHECK(margin_from(Kind::sphere, one).m1 == 0.4 && margin_from(Kind::sphere, one).m3 == 0);
  const Margin<double> all = margin_from(Kind::combined, three);
  CHECK(all.m1 == 1.1 && all.m2 == 0.2 && all.m3 == 0.3);
}

void tails_keep_their_digits() {
  CHECK(softplus(-1000.0) == 0 && softplus(1000.0) == 1000);
  CHECK_CLOSE(softplus(-40.0) / std::exp(-40.0), 1, 1e-14);  // 1 - p of a sample well learned
  CHECK_CLOSE(softplus(-80.0f) / std::exp(-80.0f), 1, 1e-6);
  CHECK_CLOSE(softplus(0.0), std::log(2.0), 1e-15);
  CHECK(sigmoid(-1000.0) == 0 && sigmoid(1000.0) == 1);
  CHECK_CLOSE(sigmoid(-40.0) / std::exp(-40.0), 1, 1e-14);
  for (double x : {0.0, 1e-9, 0.7, 3.0, 30.0}) CHECK_CLOSE(sigmoid(x) + sigmoid(-x), 1, 1e-15);
  for (double x : {-3.0, 0.2, 5.0}) {
    CHECK_CLOSE(slope([](double v) { return softplus(v); }, x), sigmoid(x), 1e-9);
  }
  CHECK(std::isnan(softplus(kNaN)) && std::isnan(sigmoid(kNaN)));
}

void loss_is_cross_entropy() {
  const double nlse = 13.0, scale = 16.0, cosine = 0.6;
  const Margin<double> m = {1.1, 0.3, 0.1};
  const auto loss = [&](double c, double n, double s, const Margin<double>& margin) {
    const double target = s * phi(c, margin, Extension::linear);
    return std::log(std::exp(target) + std::exp(n)) - target;
  };
  const auto got = margin_loss(cosine, nlse, scale, m, Extension::linear, false);
  CHECK_CLOSE(got.value, loss(cosine, nlse, scale, m), 1e-13);
  const auto by = [&](auto f, double x) { return slope(f, x); };
  CHECK_CLOSE(got.d_target_cosine, by([&](double x) { return loss(x, nlse, scale, m); }, cosine),
              1e-6);
  CHECK_CLOSE(got.d_negative_logsumexp,
              by([&](double x) { return loss(cosine, x, scale, m); }, nlse), 1e-8);
  CHECK_CLOSE(got.d_scale, by([&](double x) { return loss(cosine, nlse, x, m); }, scale), 1e-8);
  const auto with = [&](double m1, double m2, double m3) {
    return loss(cosine, nlse, scale, {m1, m2, m3});
  };
  CHECK_CLOSE(got.d_m1, by([&](double x) { return with(x, m.m2, m.m3); }, m.m1), 1e-6);
  CHECK_CLOSE(got.d_m2, by([&](double x) { return with(m.m1, x, m.m3); }, m.m2), 1e-6);
  CHECK_CLOSE(got.d_m3, by([&](double x) { return with(m.m1, m.m2, x); }, m.m3), 1e-6);
}

}  // namespace

int main() {
  values_equal_the_papers_formulas();
  linear_extension_never_turns_back();
  derivatives_are_slopes();
  poles_are_finite();
  straight_through_keeps_the_value();
  float_follows_double();
  kinds_fill_their_part();
  tails_keep_their_digits();
  loss_is_cross_entropy();
  return failures();
}
