#include "margin_logits.h"

namespace fairloss {

template <typename T>
static void margin_logits_row(const MarginLogitsProblem<T>& p, int64_t i) {
  const T* cosine = p.cosine + i * p.classes;
  T* logits = p.logits + i * p.classes;
  T* target = p.target + i;
  const T scale = *p.scale;
  for (int64_t j = 0; j < p.classes; ++j) logits[j] = scale * cosine[j];
  const int64_t label = p.labels[i], row = p.margin_rows[i] = p.margins.row(i, label);
  if (row < 0) {  // no target: labels in range are the caller's part
    for (int k = 0; k < 2 + p.margins.columns(); ++k) target[k * p.batch] = 0;
    return;
  }
  const Target<T> phi = target_transform(cosine[label], p.margins.margin(row), p.margins.extension,
                                         p.margins.straight_through);
  logits[label] = scale * phi.value;
  target[0] = phi.value;
  target[p.batch] = phi.d_cosine;
  p.margins.store(phi.d_m1, phi.d_m2, phi.d_m3, target + 2 * p.batch, p.batch);
}

template <typename T>
void margin_logits(const MarginLogitsProblem<T>& p, const Parallel& parallel) {
  parallel.run(parallel.threads, [&](int task) {
    const Share share = share_of(task, parallel.threads, p.batch, 1);
    for (int64_t i = share.begin; i < share.end; ++i) margin_logits_row(p, i);
  });
}

template <typename T>
void margin_logits_backward(const MarginLogitsBackwardProblem<T>& p) {
  const T scale = *p.scale;
  double grad_scale = 0;
  for (int64_t i = 0; i < p.batch; ++i) {
    const int64_t begin = i * p.classes, end = begin + p.classes;
    for (int64_t j = begin; j < end; ++j) p.grad_cosine[j] = scale * p.grad_logits[j];
    for (int64_t j = begin; p.cosine != nullptr && j < end; ++j) {
      grad_scale += double(p.grad_logits[j]) * p.cosine[j];
    }
    if (p.margin_rows[i] < 0) continue;
    const int64_t target = i * p.classes + p.labels[i];
    if (p.cosine != nullptr) {  // phi in place of the cosine
      grad_scale += double(p.grad_logits[target]) * (p.target[i] - p.cosine[target]);
    }
    T* const grad_margins = p.grad_margins + p.margin_rows[i] * p.columns;
    for (int64_t k = 0; k < p.columns; ++k) {
      grad_margins[k] += p.grad_cosine[target] * p.target[(2 + k) * p.batch + i];
    }
    p.grad_cosine[target] *= p.target[p.batch + i];
  }
  *p.grad_scale = T(grad_scale);
}

template void margin_logits(const MarginLogitsProblem<float>&, const Parallel&);
template void margin_logits(const MarginLogitsProblem<double>&, const Parallel&);
template void margin_logits_backward(const MarginLogitsBackwardProblem<float>&);
template void margin_logits_backward(const MarginLogitsBackwardProblem<double>&);

}  // namespace fairloss
