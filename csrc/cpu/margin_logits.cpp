#include "margin_logits.h"

namespace fairloss {

template <typename T>
static void margin_logits_row(const MarginLogitsProblem<T>& p, int64_t i) {
  const T* cosine = p.cosine + i * p.classes;
  T* logits = p.logits + i * p.classes;
  T* target = p.target + i;
  for (int64_t j = 0; j < p.classes; ++j) logits[j] = p.scale * cosine[j];
  const int64_t label = p.labels[i];
  if (label < 0) {
    p.rows[i] = -1;
    for (int k = 0; k < 2 + p.margins.columns(); ++k) target[k * p.batch] = 0;
    return;
  }
  const int64_t row = p.margins.row(i, label);
  const Target<T> phi = target_transform(cosine[label], p.margins.margin(row), p.margins.extension,
                                         p.margins.straight_through);
  p.rows[i] = row;
  logits[label] = p.scale * phi.value;
  target[0] = phi.value;
  target[p.batch] = phi.d_cosine;
  const T d_margin[3] = {phi.d_m1, phi.d_m2, phi.d_m3};
  store_margin_derivatives(p.margins.kind, d_margin, target + 2 * p.batch, p.batch);
}

template <typename T>
void margin_logits(const MarginLogitsProblem<T>& p, const Parallel& parallel) {
  parallel.run(parallel.threads, [&](int task) {
    const Share share = share_of(task, parallel.threads, p.batch, 1);
    for (int64_t i = share.begin; i < share.end; ++i) margin_logits_row(p, i);
  });
}

template void margin_logits(const MarginLogitsProblem<float>&, const Parallel&);
template void margin_logits(const MarginLogitsProblem<double>&, const Parallel&);

}  // namespace fairloss
