#include "../cpu/margin_logits.h"

#include <tuple>

#include "../cuda/margin_logits.h"
#include "margin_arguments.h"
#include "parallel.h"

namespace fairloss::ops {

std::tuple<Tensor, Tensor, Tensor> margin_logits_op(const Tensor& cosine, const Tensor& labels,
                                                    const Tensor& margins,
                                                    const std::optional<Tensor>& groups,
                                                    const Tensor& scale, int64_t layout,
                                                    int64_t kind, int64_t extension,
                                                    bool straight_through) {
  check(cosine.dim() == 2, "cosine: expected shape (B, C), got ", shape_of{cosine});
  const int64_t batch = cosine.size(0), classes = cosine.size(1);
  check_shape("labels", labels, batch);
  indices("labels", labels, -1, classes);
  const MarginArguments arguments(cosine, labels, margins, groups, layout, kind, extension,
                                  straight_through);
  return with_float_type("cosine", cosine, [&](auto number) {
    using T = decltype(number);
    const MarginTable<T> table = arguments.table<T>();
    const Tensor input = torch::stable::contiguous(cosine);
    const Tensor logits = empty(input, {batch, classes}, type_of<T>());
    const Tensor target = empty(input, {2 + table.columns(), batch}, type_of<T>());
    const Tensor margin_rows = empty(input, {batch}, ScalarType::Long);
    const MarginLogitsProblem<T> problem{batch,
                                         classes,
                                         input.const_data_ptr<T>(),
                                         arguments.labels.const_data_ptr<int64_t>(),
                                         scalar_pointer<T>("scale", scale, input),
                                         table,
                                         logits.mutable_data_ptr<T>(),
                                         target.mutable_data_ptr<T>(),
                                         margin_rows.mutable_data_ptr<int64_t>()};
    if (on_cuda(input)) {
      if constexpr (kHasCuda) cuda::launch_margin_logits<T>(problem, CudaStream(input));
    } else {
      margin_logits<T>(problem, torch_threads());
    }
    return std::tuple(logits, target, margin_rows);
  });
}

// cosine: empty where the gradient of the scale is not needed. num_rows: of the margin table; -1:
// one a sample.
std::tuple<Tensor, Tensor, Tensor> margin_logits_backward_op(
    const Tensor& grad_logits, const Tensor& cosine, const Tensor& target,
    const Tensor& margin_rows, const Tensor& labels, const Tensor& scale, int64_t num_rows) {
  check(grad_logits.dim() == 2, "grad_logits: expected shape (B, C), got ", shape_of{grad_logits});
  const int64_t batch = grad_logits.size(0), classes = grad_logits.size(1);
  if (num_rows < 0) num_rows = batch;
  const Tensor rows = indices("margin_rows", margin_rows, -1, num_rows);
  const Tensor targets = indices("labels", labels, -1, classes);
  check_shape("margin_rows", rows, batch);
  check_shape("labels", targets, batch);
  check(target.dim() == 2 && (target.size(0) == 3 || target.size(0) == 5),
        "target: expected 3 or 5 rows, got shape ", shape_of{target});
  check_shape("target", target, target.size(0), batch);
  if (cosine.numel() != 0) check_shape("cosine", cosine, batch, classes);
  check_device("cosine", cosine, grad_logits);
  check_device("target", target, grad_logits);
  check_device("margin_rows", rows, grad_logits);
  check_device("labels", targets, grad_logits);
  check_dtype("cosine", cosine, grad_logits.scalar_type());
  check_dtype("target", target, grad_logits.scalar_type());
  for (int64_t i = 0; i < batch && readable(rows); ++i) {
    const int64_t label = targets.const_data_ptr<int64_t>()[i];
    check(rows.const_data_ptr<int64_t>()[i] < 0 || label >= 0, "labels: expected 0 to ",
          classes - 1, " where margin_rows is not -1, got ", label, " at position ", i);
  }
  return with_float_type("grad_logits", grad_logits, [&](auto number) {
    using T = decltype(number);
    const int64_t columns = target.size(0) - 2;
    const Tensor upstream = torch::stable::contiguous(grad_logits);
    const Tensor cosines = torch::stable::contiguous(cosine);
    const Tensor local = torch::stable::contiguous(target);
    const Tensor grad_cosine = empty(upstream, {batch, classes}, type_of<T>());
    const Tensor grad_margins =
        torch::stable::new_zeros(upstream, {num_rows, columns}, type_of<T>());
    const Tensor grad_scale = torch::stable::new_zeros(upstream, {}, type_of<T>());
    const MarginLogitsBackwardProblem<T> problem{
        batch,
        classes,
        num_rows,
        int(columns),
        upstream.const_data_ptr<T>(),
        cosines.numel() == 0 ? nullptr : cosines.const_data_ptr<T>(),
        local.const_data_ptr<T>(),
        rows.const_data_ptr<int64_t>(),
        targets.const_data_ptr<int64_t>(),
        scalar_pointer<T>("scale", scale, upstream),
        grad_cosine.mutable_data_ptr<T>(),
        grad_margins.mutable_data_ptr<T>(),
        grad_scale.mutable_data_ptr<T>()};
    if (on_cuda(upstream)) {
      if constexpr (kHasCuda) {
        const int64_t count = cuda::margin_logits_partials(batch * classes);
        const Tensor partials = empty(upstream, {count}, ScalarType::Double);
        cuda::launch_margin_logits_backward<T>(problem, partials.mutable_data_ptr<double>(),
                                               CudaStream(upstream));
      }
    } else {
      margin_logits_backward<T>(problem);
    }
    return std::tuple(grad_cosine, grad_margins, grad_scale);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "margin_logits(Tensor cosine, Tensor labels, Tensor margins, Tensor? groups, Tensor scale, "
      "int layout, int kind, int extension, bool straight_through) -> "
      "(Tensor logits, Tensor target, Tensor margin_rows)");
  m.def(
      "margin_logits_backward(Tensor grad_logits, Tensor cosine, Tensor target, "
      "Tensor margin_rows, Tensor labels, Tensor scale, int num_rows) -> "
      "(Tensor grad_cosine, Tensor grad_margins, Tensor grad_scale)");
}

FAIRLOSS_IMPL(m) {
  m.impl("margin_logits", TORCH_BOX(&margin_logits_op));
  m.impl("margin_logits_backward", TORCH_BOX(&margin_logits_backward_op));
}

}  // namespace fairloss::ops
