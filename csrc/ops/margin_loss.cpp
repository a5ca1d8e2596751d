#include "../cpu/margin_loss.h"

#include <tuple>

#include "../cuda/margin_loss.h"
#include "margin_arguments.h"

namespace fairloss::ops {

std::tuple<Tensor, Tensor, Tensor> margin_loss_op(const Tensor& target_cosine,
                                                  const Tensor& negative_logsumexp,
                                                  const Tensor& labels, const Tensor& margins,
                                                  const std::optional<Tensor>& groups,
                                                  const Tensor& scale, int64_t layout, int64_t kind,
                                                  int64_t extension, bool straight_through) {
  const int64_t batch = target_cosine.numel();
  check_shape("target_cosine", target_cosine, batch);
  check_shape("negative_logsumexp", negative_logsumexp, batch);
  check_shape("labels", labels, batch);
  check_dtype("negative_logsumexp", negative_logsumexp, target_cosine.scalar_type());
  check_device("negative_logsumexp", negative_logsumexp, target_cosine);
  const MarginArguments arguments(target_cosine, labels, margins, groups, layout, kind, extension,
                                  straight_through);
  return with_float_type("target_cosine", target_cosine, [&](auto number) {
    using T = decltype(number);
    const MarginTable<T> table = arguments.table<T>();
    const Tensor target = torch::stable::contiguous(target_cosine);
    const Tensor nlse = torch::stable::contiguous(negative_logsumexp);
    const Tensor loss = empty(target, {batch}, type_of<T>());
    const Tensor derivatives = empty(target, {3 + table.columns(), batch}, type_of<T>());
    const Tensor margin_rows = empty(target, {batch}, ScalarType::Long);
    const MarginLossProblem<T> problem{batch,
                                       target.const_data_ptr<T>(),
                                       nlse.const_data_ptr<T>(),
                                       arguments.labels.const_data_ptr<int64_t>(),
                                       scalar_pointer<T>("scale", scale, target),
                                       table,
                                       loss.mutable_data_ptr<T>(),
                                       derivatives.mutable_data_ptr<T>(),
                                       margin_rows.mutable_data_ptr<int64_t>()};
    if (on_cuda(target)) {
      if constexpr (kHasCuda) cuda::launch_margin_loss<T>(problem, CudaStream(target));
    } else {
      margin_loss<T>(problem);
    }
    return std::tuple(loss, derivatives, margin_rows);
  });
}

// num_rows: of the margin table; -1: one a sample.
std::tuple<Tensor, Tensor, Tensor, Tensor> margin_loss_backward_op(const Tensor& grad_loss,
                                                                   const Tensor& derivatives,
                                                                   const Tensor& margin_rows,
                                                                   int64_t num_rows) {
  const int64_t batch = grad_loss.numel();
  if (num_rows < 0) num_rows = batch;
  check(derivatives.dim() == 2 && (derivatives.size(0) == 4 || derivatives.size(0) == 6),
        "derivatives: expected 4 or 6 rows, got shape ", shape_of{derivatives});
  check_shape("derivatives", derivatives, derivatives.size(0), batch);
  const Tensor rows = indices("margin_rows", margin_rows, -1, num_rows);
  check_shape("margin_rows", rows, batch);
  check_device("derivatives", derivatives, grad_loss);
  check_device("margin_rows", rows, grad_loss);
  check_dtype("derivatives", derivatives, grad_loss.scalar_type());
  return with_float_type("grad_loss", grad_loss, [&](auto number) {
    using T = decltype(number);
    const int64_t columns = derivatives.size(0) - 3;
    const Tensor upstream = torch::stable::contiguous(grad_loss);
    const Tensor local = torch::stable::contiguous(derivatives);
    const Tensor grad_target_cosine = empty(upstream, {batch}, type_of<T>());
    const Tensor grad_nlse = empty(upstream, {batch}, type_of<T>());
    const Tensor grad_margins =
        torch::stable::new_zeros(upstream, {num_rows, columns}, type_of<T>());
    const Tensor grad_scale = torch::stable::new_zeros(upstream, {}, type_of<T>());
    const MarginLossBackwardProblem<T> problem{batch,
                                               num_rows,
                                               int(columns),
                                               upstream.const_data_ptr<T>(),
                                               local.const_data_ptr<T>(),
                                               rows.const_data_ptr<int64_t>(),
                                               grad_target_cosine.mutable_data_ptr<T>(),
                                               grad_nlse.mutable_data_ptr<T>(),
                                               grad_margins.mutable_data_ptr<T>(),
                                               grad_scale.mutable_data_ptr<T>()};
    if (on_cuda(upstream)) {
      if constexpr (kHasCuda) cuda::launch_margin_loss_backward<T>(problem, CudaStream(upstream));
    } else {
      margin_loss_backward<T>(problem);
    }
    return std::tuple(grad_target_cosine, grad_nlse, grad_margins, grad_scale);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "margin_loss(Tensor target_cosine, Tensor negative_logsumexp, Tensor labels, "
      "Tensor margins, Tensor? groups, Tensor scale, int layout, int kind, int extension, "
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
