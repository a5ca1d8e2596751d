#include "margin_loss.h"
#include "margin_rows.cuh"

namespace fairloss::cuda {

template <typename T>
__global__ void margin_loss_kernel(const MarginLossProblem<T> p) {
  const T scale = *p.scale;
  const int columns = p.margins.columns();
  for (int64_t i = thread_index(); i < p.batch; i += thread_count()) {
    const int64_t row = p.margins.row(i, p.labels[i]);
    T* derivatives = p.derivatives + i;
    p.margin_rows[i] = row;
    if (row < 0) {
      const T value = row == kIgnored ? T(0) : T(NAN);
      p.loss[i] = value;
      for (int64_t k = 0; k < 3 + columns; ++k) derivatives[k * p.batch] = value;
      continue;
    }
    const MarginLoss<T> loss =
        margin_loss(p.target_cosine[i], p.negative_logsumexp[i], scale, p.margins.margin(row),
                    p.margins.extension, p.margins.straight_through);
    p.loss[i] = loss.value;
    derivatives[0] = loss.d_target_cosine;
    derivatives[p.batch] = loss.d_negative_logsumexp;
    derivatives[2 * p.batch] = loss.d_scale;
    p.margins.store(loss.d_m1, loss.d_m2, loss.d_m3, derivatives + 3 * p.batch, p.batch);
  }
}

template <typename T>
__global__ void margin_loss_backward_kernel(const MarginLossBackwardProblem<T> p) {
  // The contribution of sample i to a gradient that samples share.
  const auto contribution = [&](int64_t i, int64_t derivative) {
    const bool counts = p.margin_rows[i] >= 0 && !std::isnan(p.derivatives[i]);
    return counts ? p.grad_loss[i] * p.derivatives[derivative * p.batch + i] : T(0);
  };
  for (int64_t i = thread_index(); i < p.batch; i += thread_count()) {
    const bool ignored = p.margin_rows[i] == kIgnored;
    p.grad_target_cosine[i] = ignored ? T(0) : p.grad_loss[i] * p.derivatives[i];
    p.grad_negative_logsumexp[i] = ignored ? T(0) : p.grad_loss[i] * p.derivatives[p.batch + i];
  }
  sum_margin_rows(p.margin_rows, p.batch, p.num_rows, p.columns, p.grad_margins,
                  [&](int64_t i, int k) { return contribution(i, 3 + k); });
  if (blockIdx.x != 0) return;
  double grad_scale = 0;
  for (int64_t i = threadIdx.x; i < p.batch; i += blockDim.x)
    grad_scale += double(contribution(i, 2));
  grad_scale = block_sum(grad_scale);
  if (threadIdx.x == 0) *p.grad_scale = T(grad_scale);
}

template <typename T>
void launch_margin_loss(const MarginLossProblem<T>& p, cudaStream_t stream) {
  launch(margin_loss_kernel<T>, {blocks_for(p.batch, kThreads), kThreads, 0, stream}, p);
}

template <typename T>
void launch_margin_loss_backward(const MarginLossBackwardProblem<T>& p, cudaStream_t stream) {
  const int64_t blocks = blocks_for(p.batch, kThreads / kWarp);  // a warp takes a sample
  launch(margin_loss_backward_kernel<T>, {blocks, kThreads, 0, stream}, p);
}

template void launch_margin_loss(const MarginLossProblem<float>&, cudaStream_t);
template void launch_margin_loss(const MarginLossProblem<double>&, cudaStream_t);
template void launch_margin_loss_backward(const MarginLossBackwardProblem<float>&, cudaStream_t);
template void launch_margin_loss_backward(const MarginLossBackwardProblem<double>&, cudaStream_t);

}  // namespace fairloss::cuda
