#pragma once

#include "cuda_types.h"
#include "fairloss/margin_problems.h"

namespace fairloss::cuda {

// logits = scale * cosine, with phi in place of the target's cosine. A label or group out of range:
// NaN in the whole row of logits.
template <typename T>
void launch_margin_logits(const MarginLogitsProblem<T>& problem, cudaStream_t stream);

// Partial sums of the scale's gradient that the first of the two backward kernels leaves to the
// second, for B C elements.
int64_t margin_logits_partials(int64_t elements);

// A row whose label or group is out of range has a gradient of NaN, and gives none to the margins.
// partials: (margin_logits_partials(B C),) scratch.
template <typename T>
void launch_margin_logits_backward(const MarginLogitsBackwardProblem<T>& problem, double* partials,
                                   cudaStream_t stream);

}  // namespace fairloss::cuda
