#include "../cpu/margin_loss.h"

#include "../cuda/margin_loss.h"
#include "tensors.h"

namespace fairloss::ops {

template <typename T>
std::tuple<Tensor, Tensor, Tensor> loss_forward(const Tensor& target_cosine,
                                                const Tensor& negative_logsumexp,
                                                const MarginArguments& arguments,
                                                const Tensor& scale) {
  const int64_t batch = target_cosine.numel();
  const MarginTable<T> table = arguments.table<T>();
  const Tensor target = torch::stable::contiguous(target_cosine);
  const Tensor nlse = torch::stable::contiguous(negative_logsumexp);
  const Tensor loss = empty(target, {batch}, type_of<T>());
  const Tensor derivatives = empty(target, {3 + table.columns(), batch}, type_of<T>());
  const Tensor rows = empty(target, {batch}, ScalarType::Long);
  const T* const inputs[] = {target.const_data_ptr<T>(), nlse.const_data_ptr<T>()};
  const int64_t* const labels = arguments.labels.const_data_ptr<int64_t>();
  T* const outputs[] = {loss.mutable_data_ptr<T>(), derivatives.mutable_data_ptr<T>()};
  int64_t* const table_rows = rows.mutable_data_ptr<int64_t>();
  if constexpr (kHasCuda) {
    if (on_cuda(target)) {
      cuda::launch_margin_loss<T>(
          {batch, inputs[0], inputs[1], labels, scalar_pointer<T>("scale", scale, target),
           arguments.cuda_table<T>(), outputs[0], outputs[1], table_rows},
          CudaStream(target));
      return {loss, derivatives, rows};
    }
  }
  margin_loss<T>({batch, inputs[0], inputs[1], labels, scalar_of<T>("scale", scale), table,
                  outputs[0], outputs[1], table_rows});
  return {loss, derivatives, rows};
}

std::tuple<Tensor, Tensor, Tensor> margin_loss_op(const Tensor& target_cosine,
                                                  const Tensor& negative_logsumexp,
                                                  const Tensor& labels, const Tensor& margins,
                                                  const std::optional<Tensor>& groups,
                                                  const Tensor& scale, int64_t rows, int64_t kind,
                                                  int64_t extension, bool straight_through) {
  check_shape("target_cosine", target_cosine, target_cosine.numel());
  check_shape("negative_logsumexp", negative_logsumexp, target_cosine.numel());
  check_shape("labels", labels, target_cosine.numel());
  check(target_cosine.scalar_type() == negative_logsumexp.scalar_type(),
        "target_cosine and negative_logsumexp: expected one dtype");
  check_device("negative_logsumexp", negative_logsumexp, target_cosine);
  check_device("margins", margins, target_cosine);
  const MarginArguments arguments(labels, margins, groups, rows, kind, extension, straight_through);
  if (target_cosine.scalar_type() == ScalarType::Double) {
    return loss_forward<double>(target_cosine, negative_logsumexp, arguments, scale);
  }
  check_type("target_cosine", target_cosine, ScalarType::Float, "float32 or float64");
  return loss_forward<float>(target_cosine, negative_logsumexp, arguments, scale);
}

template <typename T>
void loss_backward_on_cpu(const cuda::MarginLossBackwardProblem<T>& p) {
  double to_scale = 0;
  for (int64_t i = 0; i < p.batch; ++i) {
    // An ignored sample has no gradient, whatever comes from upstream.
    const bool ignored = p.rows[i] < 0;
    const T* const local = p.derivatives + i;
    p.grad_target_cosine[i] = ignored ? T(0) : p.grad_loss[i] * local[0];
    p.grad_negative_logsumexp[i] = ignored ? T(0) : p.grad_loss[i] * local[p.batch];
    // A spoilt sample (NaN) keeps its own gradient, and spoils no shared one.
    if (ignored || std::isnan(local[0])) continue;
    to_scale += double(p.grad_loss[i]) * local[2 * p.batch];
    for (int64_t k = 0; k < p.columns; ++k) {
      p.grad_margins[p.rows[i] * p.columns + k] += p.grad_loss[i] * local[(3 + k) * p.batch];
    }
  }
  *p.grad_scale = T(to_scale);
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor, Tensor> loss_backward(const Tensor& grad_loss,
                                                         const Tensor& derivatives,
                                                         const Tensor& rows, int64_t num_rows) {
  const int64_t batch = grad_loss.numel(), columns = derivatives.size(0) - 3;
  const Tensor grad_target = empty(grad_loss, {batch}, type_of<T>());
  const Tensor grad_nlse = empty(grad_loss, {batch}, type_of<T>());
  const Tensor grad_margins =
      torch::stable::new_zeros(grad_loss, {num_rows, columns}, type_of<T>());
  const Tensor grad_scale = torch::stable::new_zeros(grad_loss, {}, type_of<T>());
  const cuda::MarginLossBackwardProblem<T> problem{batch,
                                                   num_rows,
                                                   int(columns),
                                                   grad_loss.const_data_ptr<T>(),
                                                   derivatives.const_data_ptr<T>(),
                                                   rows.const_data_ptr<int64_t>(),
                                                   grad_target.mutable_data_ptr<T>(),
                                                   grad_nlse.mutable_data_ptr<T>(),
                                                   grad_margins.mutable_data_ptr<T>(),
                                                   grad_scale.mutable_data_ptr<T>()};
  if constexpr (kHasCuda) {
    if (on_cuda(grad_loss)) {
      cuda::launch_margin_loss_backward<T>(problem, CudaStream(grad_loss));
      return {grad_target, grad_nlse, grad_margins, grad_scale};
    }
  }
  loss_backward_on_cpu<T>(problem);
  return {grad_target, grad_nlse, grad_margins, grad_scale};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> margin_loss_backward_op(const Tensor& grad_loss,
                                                                   const Tensor& derivatives,
                                                                   const Tensor& rows,
                                                                   int64_t num_rows) {
  const int64_t batch = grad_loss.numel();
  if (num_rows < 0) num_rows = batch;  // a table with one row a sample
  check(derivatives.dim() == 2 && (derivatives.size(0) == 4 || derivatives.size(0) == 6),
        "derivatives: expected 4 rows or 6");
  check_shape("derivatives", derivatives, derivatives.size(0), batch);
  const Tensor table_rows = indices("rows", rows, -1, num_rows);
  check_shape("rows", table_rows, batch);
  check_device("derivatives", derivatives, grad_loss);
  check_device("rows", rows, grad_loss);
  check(grad_loss.scalar_type() == derivatives.scalar_type(),
        "grad_loss and derivatives: expected one dtype");
  const Tensor upstream = torch::stable::contiguous(grad_loss);
  const Tensor local = torch::stable::contiguous(derivatives);
  if (grad_loss.scalar_type() == ScalarType::Double) {
    return loss_backward<double>(upstream, local, table_rows, num_rows);
  }
  check_type("grad_loss", grad_loss, ScalarType::Float, "float32 or float64");
  return loss_backward<float>(upstream, local, table_rows, num_rows);
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "margin_loss(Tensor target_cosine, Tensor negative_logsumexp, Tensor labels, "
      "Tensor margins, Tensor? groups, Tensor scale, int rows, int kind, int extension, "
      "bool straight_through) -> (Tensor loss, Tensor derivatives, Tensor margin_rows)");
  m.def(
      "margin_loss_backward(Tensor grad_loss, Tensor derivatives, Tensor margin_rows, "
      "int num_rows) -> (Tensor grad_target_cosine, Tensor grad_negative_logsumexp, "
      "Tensor grad_margins, Tensor grad_scale)");
}

FAIRLOSS_IMPL(m) {
  m.impl("margin_loss", TORCH_BOX(&margin_loss_op));
  m.impl("margin_loss_backward", TORCH_BOX(&margin_loss_backward_op));
}

}  // namespace fairloss::ops
