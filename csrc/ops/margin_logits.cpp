#include "../cpu/margin_logits.h"

#include "tensors.h"

namespace fairloss::ops {

template <typename T>
std::tuple<Tensor, Tensor, Tensor> logits_forward(const Tensor& cosine,
                                                  const MarginArguments& arguments,
                                                  const Tensor& scale) {
  const int64_t batch = cosine.size(0), classes = cosine.size(1);
  const MarginTable<T> table = arguments.table<T>();
  const Tensor input = torch::stable::contiguous(cosine);
  const Tensor logits = empty(input, {batch, classes}, type_of<T>());
  const Tensor derivatives = empty(input, {1 + table.columns(), batch}, type_of<T>());
  const Tensor rows = empty(input, {batch}, ScalarType::Long);
  margin_logits(
      MarginLogitsProblem<T>{batch, classes, input.const_data_ptr<T>(),
                             arguments.labels.const_data_ptr<int64_t>(),
                             scalar_of<T>("scale", scale), table, logits.mutable_data_ptr<T>(),
                             derivatives.mutable_data_ptr<T>(), rows.mutable_data_ptr<int64_t>()},
      torch_threads());
  return {logits, derivatives, rows};
}

std::tuple<Tensor, Tensor, Tensor> margin_logits_op(const Tensor& cosine, const Tensor& labels,
                                                    const Tensor& margins,
                                                    const std::optional<Tensor>& groups,
                                                    const Tensor& scale, int64_t rows, int64_t kind,
                                                    int64_t extension, bool straight_through) {
  STD_TORCH_CHECK(cosine.dim() == 2, "cosine: expected shape (B, C), got ", cosine.dim(),
                  " dimensions");
  check_shape("labels", labels, cosine.size(0));
  indices("labels", labels, -1, cosine.size(1));
  const MarginArguments arguments(labels, margins, groups, rows, kind, extension, straight_through);
  if (cosine.scalar_type() == ScalarType::Double) {
    return logits_forward<double>(cosine, arguments, scale);
  }
  check_type("cosine", cosine, ScalarType::Float, "float32 or float64");
  return logits_forward<float>(cosine, arguments, scale);
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> logits_backward(const Tensor& grad_logits, const Tensor& logits,
                                                   const Tensor& derivatives, const Tensor& rows,
                                                   const Tensor& labels, T scale,
                                                   int64_t num_rows) {
  const int64_t batch = grad_logits.size(0), classes = grad_logits.size(1);
  const int64_t columns = derivatives.size(0) - 1;
  const Tensor grad_cosine = empty(grad_logits, {batch, classes}, type_of<T>());
  const Tensor grad_margins =
      torch::stable::new_zeros(grad_logits, {num_rows, columns}, type_of<T>());
  const Tensor grad_scale = torch::stable::new_zeros(grad_logits, {}, type_of<T>());

  const T* upstream = grad_logits.const_data_ptr<T>();
  const T* local = derivatives.const_data_ptr<T>();
  const int64_t* row = rows.const_data_ptr<int64_t>();
  const int64_t* label = labels.const_data_ptr<int64_t>();
  T* out = grad_cosine.mutable_data_ptr<T>();
  for (int64_t k = 0; k < batch * classes; ++k) out[k] = scale * upstream[k];
  for (int64_t i = 0; i < batch; ++i) {
    if (row[i] < 0) continue;
    const int64_t target = i * classes + label[i];
    for (int64_t k = 0; k < columns; ++k) {
      grad_margins.mutable_data_ptr<T>()[row[i] * columns + k] +=
          out[target] * local[(1 + k) * batch + i];
    }
    out[target] *= local[i];
  }
  if (logits.numel() == batch * classes && scale != T(0)) {
    double to_scale = 0;
    const T* value = logits.const_data_ptr<T>();
    for (int64_t k = 0; k < batch * classes; ++k) to_scale += double(upstream[k]) * value[k];
    *grad_scale.mutable_data_ptr<T>() = T(to_scale / scale);
  }
  return {grad_cosine, grad_margins, grad_scale};
}

// `logits` may be empty where the gradient of the scale is not wanted.
std::tuple<Tensor, Tensor, Tensor> margin_logits_backward_op(
    const Tensor& grad_logits, const Tensor& logits, const Tensor& derivatives, const Tensor& rows,
    const Tensor& labels, const Tensor& scale, int64_t num_rows) {
  const Tensor upstream = torch::stable::contiguous(grad_logits);
  const Tensor table_rows = indices("rows", rows, -1, num_rows);
  const Tensor classes = indices("labels", labels, -1, upstream.size(1));
  check_shape("rows", table_rows, upstream.size(0));
  check_shape("labels", classes, upstream.size(0));
  check_shape("derivatives", derivatives, derivatives.size(0), upstream.size(0));
  STD_TORCH_CHECK(grad_logits.scalar_type() == derivatives.scalar_type() &&
                      grad_logits.scalar_type() == logits.scalar_type(),
                  "grad_logits, logits and derivatives: expected one dtype");
  const Tensor local = torch::stable::contiguous(derivatives);
  const Tensor value = torch::stable::contiguous(logits);
  if (upstream.scalar_type() == ScalarType::Double) {
    return logits_backward<double>(upstream, value, local, table_rows, classes,
                                   scalar_of<double>("scale", scale), num_rows);
  }
  check_type("grad_logits", grad_logits, ScalarType::Float, "float32 or float64");
  return logits_backward<float>(upstream, value, local, table_rows, classes,
                                scalar_of<float>("scale", scale), num_rows);
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "margin_logits(Tensor cosine, Tensor labels, Tensor margins, Tensor? groups, Tensor scale, "
      "int rows, int kind, int extension, bool straight_through) -> "
      "(Tensor logits, Tensor derivatives, Tensor margin_rows)");
  m.def(
      "margin_logits_backward(Tensor grad_logits, Tensor logits, Tensor derivatives, "
      "Tensor margin_rows, Tensor labels, Tensor scale, int num_rows) -> "
      "(Tensor grad_cosine, Tensor grad_margins, Tensor grad_scale)");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss, CPU, m) {
  m.impl("margin_logits", TORCH_BOX(&margin_logits_op));
  m.impl("margin_logits_backward", TORCH_BOX(&margin_logits_backward_op));
}

}  // namespace fairloss::ops
