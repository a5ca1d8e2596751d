#pragma once

#include "fairloss/margin_problems.h"
#include "parallel.h"

namespace fairloss {

// logits = scale * cosine, with phi in place of the target's cosine.
template <typename T>
void margin_logits(const MarginLogitsProblem<T>& problem, const Parallel& parallel);

template <typename T>
void margin_logits_backward(const MarginLogitsBackwardProblem<T>& problem);

}  // namespace fairloss
