#include "margin_loss.h"

namespace fairloss {

template <typename T>
void margin_loss(const MarginLossProblem<T>& p) {
  const int columns = p.margins.columns();
  for (int64_t i = 0; i < p.batch; ++i) {
    T* derivatives = p.derivatives + i;
    if (p.labels[i] < 0) {
      p.loss[i] = 0;
      p.rows[i] = -1;
      for (int k = 0; k < 3 + columns; ++k) derivatives[k * p.batch] = 0;
      continue;
    }
    const int64_t row = p.margins.row(i, p.labels[i]);
    const MarginLoss<T> loss =
        margin_loss(p.target_cosine[i], p.negative_logsumexp[i], p.scale, p.margins.margin(row),
                    p.margins.extension, p.margins.straight_through);
    p.loss[i] = loss.value;
    p.rows[i] = row;
    derivatives[0] = loss.d_target_cosine;
    derivatives[p.batch] = loss.d_negative_logsumexp;
    derivatives[2 * p.batch] = loss.d_scale;
    const T d_margin[3] = {loss.d_m1, loss.d_m2, loss.d_m3};
    store_margin_derivatives(p.margins.kind, d_margin, derivatives + 3 * p.batch, p.batch);
  }
}

template void margin_loss(const MarginLossProblem<float>&);
template void margin_loss(const MarginLossProblem<double>&);

}  // namespace fairloss
