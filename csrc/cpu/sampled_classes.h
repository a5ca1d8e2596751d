#pragma once

#include <cstdint>

namespace fairloss {

struct SampledClasses {
  int64_t batch, classes, samples;
  const int64_t* labels;  // (B,), -1: no class
  int64_t step, seed;

  int64_t* sampled;    // (S + B,) the S classes drawn, then the batch's others; -1: none
  int64_t* positions;  // (B,) of the labels in `sampled`, -1: no class
};

void sampled_classes(const SampledClasses& problem);

}  // namespace fairloss
