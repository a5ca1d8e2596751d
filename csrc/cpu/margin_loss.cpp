#include "margin_loss.h"

namespace fairloss {

template <typename T>
void margin_loss(const MarginLossProblem<T>& p) {
  const int columns = p.margins.columns();
  for (int64_t i = 0; i < p.batch; ++i) {
    T* derivatives = p.derivatives + i;
    const int64_t row = p.margin_rows[i] = p.margins.row(i, p.labels[i]);
    if (row < 0) {  // ignored: labels in range are the caller's part
      p.loss[i] = 0;
      for (int k = 0; k < 3 + columns; ++k) derivatives[k * p.batch] = 0;
      continue;
    }
    const MarginLoss<T> loss =
        margin_loss(p.target_cosine[i], p.negative_logsumexp[i], *p.scale, p.margins.margin(row),
                    p.margins.extension, p.margins.straight_through);
    p.loss[i] = loss.value;
    derivatives[0] = loss.d_target_cosine;
    derivatives[p.batch] = loss.d_negative_logsumexp;
    derivatives[2 * p.batch] = loss.d_scale;
    p.margins.store(loss.d_m1, loss.d_m2, loss.d_m3, derivatives + 3 * p.batch, p.batch);
  }
}

template <typename T>
void margin_loss_backward(const MarginLossBackwardProblem<T>& p) {
  double grad_scale = 0;
  for (int64_t i = 0; i < p.batch; ++i) {
    // An ignored sample has no gradient, even where that of its loss is NaN.
    const bool ignored = p.margin_rows[i] < 0;
    const T* const derivatives = p.derivatives + i;
    p.grad_target_cosine[i] = ignored ? T(0) : p.grad_loss[i] * derivatives[0];
    p.grad_negative_logsumexp[i] = ignored ? T(0) : p.grad_loss[i] * derivatives[p.batch];
    if (ignored || std::isnan(derivatives[0])) continue;
    grad_scale += double(p.grad_loss[i]) * derivatives[2 * p.batch];
    T* const grad_margins = p.grad_margins + p.margin_rows[i] * p.columns;
    for (int64_t k = 0; k < p.columns; ++k) {
      grad_margins[k] += p.grad_loss[i] * derivatives[(3 + k) * p.batch];
    }
  }
  *p.grad_scale = T(grad_scale);
}

template void margin_loss(const MarginLossProblem<float>&);
template void margin_loss(const MarginLossProblem<double>&);
template void margin_loss_backward(const MarginLossBackwardProblem<float>&);
template void margin_loss_backward(const MarginLossBackwardProblem<double>&);

}  // namespace fairloss
