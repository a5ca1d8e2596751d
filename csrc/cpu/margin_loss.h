#pragma once

#include "fairloss/margin_problems.h"

namespace fairloss {

// (B,) loss of the margin softmax and every derivative, so that a later change of the margin table
// cannot change the gradient.
template <typename T>
void margin_loss(const MarginLossProblem<T>& problem);

// Ignored samples have no gradient. One whose derivatives are NaN has a gradient of NaN, and takes
// no part in the gradients of the margins and of the scale.
template <typename T>
void margin_loss_backward(const MarginLossBackwardProblem<T>& problem);

}  // namespace fairloss
