#pragma once

#include "cuda_types.h"
#include "fairloss/margin_problems.h"

namespace fairloss::cuda {

// (B,) loss of the margin softmax and every derivative, so that a later change of the margin table
// cannot change the gradient. A label or group out of range: NaN for its sample.
template <typename T>
void launch_margin_loss(const MarginLossProblem<T>& problem, cudaStream_t stream);

// Ignored samples have no gradient. One whose derivatives are NaN has a gradient of NaN, and takes
// no part in the gradients of the margins and of the scale.
template <typename T>
void launch_margin_loss_backward(const MarginLossBackwardProblem<T>& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
