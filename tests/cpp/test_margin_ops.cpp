// The backward passes of margin_loss and margin_logits against the definition of a gradient: sums
// over samples of upstream gradient times derivative.
#include <vector>

#include "check.h"
#include "margin_logits.h"
#include "margin_loss.h"
#include "threads.h"

using namespace fairloss;

namespace {

constexpr int64_t kBatch = 5, kClasses = 4;
const std::vector<int64_t> kLabels = {2, -1, 0, 2, 3}, kGroups = {1, 0, 1, 0};
const std::vector<double> kMargins = {0.3, 0.5};
const double kScale = 8;

MarginTable<double> table() {
  return {kMargins.data(), kGroups.data(),    2,    kClasses, Layout::per_class,
          Kind::arc,       Extension::linear, false};
}

// Which table row the samples use, by hand: groups of labels 2, -, 0, 2, 3.
const std::vector<int64_t> kRows = {1, -1, 1, 1, 0};

void losses_and_gradients_are_the_formulas() {
  const std::vector<double> cosine = {0.1, 0.2, -0.3, 0.9, 0.5}, nlse = {2, 3, 1, 9, 4};
  std::vector<double> loss(kBatch), derivatives(4 * kBatch);
  std::vector<int64_t> rows(kBatch);
  margin_loss<double>({kBatch, cosine.data(), nlse.data(), kLabels.data(), &kScale, table(),
                       loss.data(), derivatives.data(), rows.data()});
  CHECK(rows == kRows);
  CHECK(loss[1] == 0);

  const std::vector<double> grad_loss = {1, NAN, -2, 0.5, 3};
  std::vector<double> grad_target(kBatch), grad_nlse(kBatch), grad_margins(2);
  double grad_scale = 0;
  margin_loss_backward<double>({kBatch, 2, 1, grad_loss.data(), derivatives.data(), rows.data(),
                                grad_target.data(), grad_nlse.data(), grad_margins.data(),
                                &grad_scale});
  double expected_scale = 0;
  std::vector<double> expected_margins(2);
  for (int64_t i = 0; i < kBatch; ++i) {
    if (kLabels[i] < 0) {
      CHECK(grad_target[i] == 0 && grad_nlse[i] == 0);
      continue;
    }
    const double m = kMargins[kRows[i]], theta = std::acos(cosine[i]);
    const double phi = std::cos(theta + m);
    const double q = 1 / (1 + std::exp(kScale * phi - nlse[i]));  // 1 - p of the target
    CHECK_CLOSE(loss[i], -std::log1p(-q), 1e-13);
    CHECK_CLOSE(grad_target[i], -grad_loss[i] * q * kScale * std::sin(theta + m) / std::sin(theta),
                1e-12);
    CHECK_CLOSE(grad_nlse[i], grad_loss[i] * q, 1e-13);
    expected_scale -= grad_loss[i] * q * phi;
    expected_margins[kRows[i]] += grad_loss[i] * q * kScale * std::sin(theta + m);
  }
  CHECK_CLOSE(grad_scale, expected_scale, 1e-13);
  for (int k = 0; k < 2; ++k) CHECK_CLOSE(grad_margins[k], expected_margins[k], 1e-12);
}

void a_nan_stays_with_its_sample() {
  const std::vector<double> derivatives = {NAN, 2, NAN, 2, NAN, 2, NAN, 2}, grad_loss = {1, 1};
  const std::vector<int64_t> rows = {0, 0};
  std::vector<double> grad_target(2), grad_nlse(2);
  double grad_margin = 0, grad_scale = 0;
  margin_loss_backward<double>({2, 1, 1, grad_loss.data(), derivatives.data(), rows.data(),
                                grad_target.data(), grad_nlse.data(), &grad_margin, &grad_scale});
  CHECK(std::isnan(grad_target[0]) && std::isnan(grad_nlse[0]));
  CHECK(grad_target[1] == 2 && grad_nlse[1] == 2 && grad_margin == 2 && grad_scale == 2);
}

void logits_and_gradients_are_the_formulas(const Parallel& parallel) {
  std::vector<double> cosine, grad_logits;
  for (int64_t j = 0; j < kBatch * kClasses; ++j) {
    cosine.push_back(std::sin(3.0 * double(j)));
    grad_logits.push_back(std::cos(5.0 * double(j)));
  }
  std::vector<double> logits(cosine.size()), target(3 * kBatch), grad_cosine(cosine.size());
  std::vector<int64_t> rows(kBatch);
  margin_logits<double>({kBatch, kClasses, cosine.data(), kLabels.data(), &kScale, table(),
                         logits.data(), target.data(), rows.data()},
                        parallel);
  CHECK(rows == kRows);
  std::vector<double> grad_margins(2), expected_margins(2);
  double grad_scale = 0, expected_scale = 0;
  margin_logits_backward<double>({kBatch, kClasses, 2, 1, grad_logits.data(), cosine.data(),
                                  target.data(), rows.data(), kLabels.data(), &kScale,
                                  grad_cosine.data(), grad_margins.data(), &grad_scale});
  for (int64_t i = 0; i < kBatch; ++i) {
    for (int64_t j = 0; j < kClasses; ++j) {
      const int64_t k = i * kClasses + j;
      const double theta = std::acos(cosine[k]);
      const double m = j == kLabels[i] ? kMargins[kRows[i]] : 0;
      const bool linear = theta + m > 3.14159265358979323846;
      const double phi = linear ? cosine[k] - m * std::sin(m) : std::cos(theta + m);
      const double slope = linear ? 1 : std::sin(theta + m) / std::sin(theta);
      CHECK_CLOSE(logits[k], kScale * phi, 1e-13);
      CHECK_CLOSE(grad_cosine[k], grad_logits[k] * kScale * slope, 1e-12);
      expected_scale += grad_logits[k] * phi;
      const double by_margin = linear ? -std::sin(m) - m * std::cos(m) : -std::sin(theta + m);
      if (m > 0) expected_margins[kRows[i]] += grad_logits[k] * kScale * by_margin;
    }
  }
  CHECK_CLOSE(grad_scale, expected_scale, 1e-13);
  for (int k = 0; k < 2; ++k) CHECK_CLOSE(grad_margins[k], expected_margins[k], 1e-12);
}

}  // namespace

int main() {
  losses_and_gradients_are_the_formulas();
  a_nan_stays_with_its_sample();
  logits_and_gradients_are_the_formulas(Parallel());
  logits_and_gradients_are_the_formulas(three_threads());
  return failures();
}
