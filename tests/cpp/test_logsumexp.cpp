// fairloss/logsumexp.h: sums of exponentials in parts against one sum in long double.
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "fairloss/logsumexp.h"

using namespace fairloss;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct PartialSum {
  double peak = -kInfinity, sum = 0;

  void add(double logit) {
    const double higher = std::fmax(peak, logit);
    sum = sum * relative_exp(peak, higher) + relative_exp(logit, higher);
    peak = higher;
  }
  void merge(const PartialSum& other) {
    const double higher = std::fmax(peak, other.peak);
    sum = sum * relative_exp(peak, higher) + other.sum * relative_exp(other.peak, higher);
    peak = higher;
  }
  double log() const { return log_sum_exp(peak, sum); }
};

void parts_merge_to_the_log_of_the_whole_sum() {
  std::mt19937 random(7);
  for (double center : {0.0, -30.0, 40.0}) {
    std::normal_distribution<double> logits(center, 8);
    std::vector<PartialSum> parts(4);  // of which the last one is empty
    long double total = 0;
    for (int k = 0; k < 300; ++k) {
      const double logit = logits(random);
      parts[k % 3].add(logit);
      total += std::exp((long double)(logit));
    }
    PartialSum forward, backward;
    for (int k = 0; k < 4; ++k) forward.merge(parts[k]);
    for (int k = 3; k >= 0; --k) backward.merge(parts[k]);
    CHECK_CLOSE(forward.log(), double(std::log(total)), 1e-13 * (1 + std::fabs(center)));
    CHECK_CLOSE(backward.log(), forward.log(), 1e-13 * (1 + std::fabs(center)));
  }
}

void nothing_overflows() {
  PartialSum high, low;
  for (int k = 0; k < 4; ++k) high.add(1e4);
  for (int k = 0; k < 4; ++k) low.add(-1e4);
  CHECK_CLOSE(high.log(), 1e4 + std::log(4.0), 1e-11);
  CHECK_CLOSE(low.log(), -1e4 + std::log(4.0), 1e-11);
  high.merge(low);
  CHECK_CLOSE(high.log(), 1e4 + std::log(4.0), 1e-11);
}

void without_terms_the_log_is_minus_infinity() {
  PartialSum none, others;
  none.merge(others);
  CHECK(none.log() == -kInfinity && none.sum == 0);
  CHECK(relative_exp(-kInfinity, -kInfinity) == 0);
  CHECK(relative_exp(-INFINITY, -INFINITY) == 0);
  none.add(3);
  CHECK_CLOSE(none.log(), 3, 1e-15);
}

void nan_reaches_the_sum() {
  PartialSum parts;
  parts.add(1);
  parts.add(std::nan(""));
  CHECK(parts.peak == 1 && std::isnan(parts.log()));
}

void probabilities_sum_to_one_and_none_exceeds_it() {
  const std::vector<double> logits = {3, -2, 0.5, 3};
  PartialSum sum;
  for (double logit : logits) sum.add(logit);
  double total = 0;
  for (double logit : logits) total += std::exp(log_probability(logit, sum.log()));
  CHECK_CLOSE(total, 1, 1e-15);
  CHECK(log_probability(-2.0, 3.5) == -5.5);
  CHECK(log_probability(1e9f, 1e9f - 128) == 0);  // a rounding error at a scale of 1e9
  CHECK(log_probability(1.0, kInfinity) == -kInfinity);
  CHECK(std::isnan(log_probability(std::nan(""), 1.0)));
}

}  // namespace

int main() {
  parts_merge_to_the_log_of_the_whole_sum();
  nothing_overflows();
  without_terms_the_log_is_minus_infinity();
  nan_reaches_the_sum();
  probabilities_sum_to_one_and_none_exceeds_it();
  return failures();
}
