#include "../cpu/margin_logits.h"

#include "../cuda/margin_logits.h"
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
  const Tensor target = empty(input, {2 + table.columns(), batch}, type_of<T>());
  const Tensor rows = empty(input, {batch}, ScalarType::Long);
  const T* const cosines = input.const_data_ptr<T>();
  const int64_t* const labels = arguments.labels.const_data_ptr<int64_t>();
  T* const outputs[] = {logits.mutable_data_ptr<T>(), target.mutable_data_ptr<T>()};
  int64_t* const table_rows = rows.mutable_data_ptr<int64_t>();
  if constexpr (kHasCuda) {
    if (on_cuda(input)) {
      cuda::launch_margin_logits<T>(
          {batch, classes, cosines, labels, scalar_pointer<T>("scale", scale, input),
           arguments.cuda_table<T>(), outputs[0], outputs[1], table_rows},
          CudaStream(input));
      return {logits, target, rows};
    }
  }
  margin_logits<T>({batch, classes, cosines, labels, scalar_of<T>("scale", scale), table,
                    outputs[0], outputs[1], table_rows},
                   torch_threads());
  return {logits, target, rows};
}

std::tuple<Tensor, Tensor, Tensor> margin_logits_op(const Tensor& cosine, const Tensor& labels,
                                                    const Tensor& margins,
                                                    const std::optional<Tensor>& groups,
                                                    const Tensor& scale, int64_t rows, int64_t kind,
                                                    int64_t extension, bool straight_through) {
  check(cosine.dim() == 2, "cosine: expected shape (B, C), got ", cosine.dim(), " dimensions");
  check_shape("labels", labels, cosine.size(0));
  indices("labels", labels, -1, cosine.size(1));
  check_device("margins", margins, cosine);
  const MarginArguments arguments(labels, margins, groups, rows, kind, extension, straight_through);
  if (cosine.scalar_type() == ScalarType::Double) {
    return logits_forward<double>(cosine, arguments, scale);
  }
  check_type("cosine", cosine, ScalarType::Float, "float32 or float64");
  return logits_forward<float>(cosine, arguments, scale);
}

template <typename T>
void logits_backward_on_cpu(const cuda::MarginLogitsBackwardProblem<T>& p) {
  double to_scale = 0;
  for (int64_t i = 0; i < p.batch; ++i) {
    for (int64_t j = i * p.classes; j < (i + 1) * p.classes; ++j) {
      p.grad_cosine[j] = *p.scale * p.grad_logits[j];
      if (p.cosine != nullptr) to_scale += double(p.grad_logits[j]) * p.cosine[j];
    }
    if (p.rows[i] < 0) continue;
    const int64_t at = i * p.classes + p.labels[i];
    if (p.cosine != nullptr) {
      to_scale += double(p.grad_logits[at]) * (p.target[i] - p.cosine[at]);
    }
    for (int64_t k = 0; k < p.columns; ++k) {
      p.grad_margins[p.rows[i] * p.columns + k] +=
          p.grad_cosine[at] * p.target[(2 + k) * p.batch + i];
    }
    p.grad_cosine[at] *= p.target[p.batch + i];
  }
  *p.grad_scale = T(to_scale);
}

struct LogitsBackward {
  Tensor upstream, cosine, target, rows, labels, scale;
  int64_t num_rows;
};

template <typename T>
std::tuple<Tensor, Tensor, Tensor> logits_backward(const LogitsBackward& saved) {
  const int64_t batch = saved.upstream.size(0), classes = saved.upstream.size(1);
  const int64_t columns = saved.target.size(0) - 2;
  const Tensor grad_cosine = empty(saved.upstream, {batch, classes}, type_of<T>());
  const Tensor grad_margins =
      torch::stable::new_zeros(saved.upstream, {saved.num_rows, columns}, type_of<T>());
  const Tensor grad_scale = torch::stable::new_zeros(saved.upstream, {}, type_of<T>());
  cuda::MarginLogitsBackwardProblem<T> problem{
      batch,
      classes,
      saved.num_rows,
      int(columns),
      saved.upstream.const_data_ptr<T>(),
      saved.cosine.numel() == 0 ? nullptr : saved.cosine.const_data_ptr<T>(),
      saved.target.const_data_ptr<T>(),
      saved.rows.const_data_ptr<int64_t>(),
      saved.labels.const_data_ptr<int64_t>(),
      scalar_pointer<T>("scale", saved.scale, saved.upstream),
      grad_cosine.mutable_data_ptr<T>(),
      grad_margins.mutable_data_ptr<T>(),
      grad_scale.mutable_data_ptr<T>(),
      nullptr};
  if constexpr (kHasCuda) {
    if (on_cuda(saved.upstream)) {
      const int64_t count = cuda::margin_logits_partials(batch * classes);
      const Tensor partials = empty(saved.upstream, {count}, ScalarType::Double);
      problem.partials = partials.mutable_data_ptr<double>();
      cuda::launch_margin_logits_backward<T>(problem, CudaStream(saved.upstream));
      return {grad_cosine, grad_margins, grad_scale};
    }
  }
  logits_backward_on_cpu<T>(problem);
  return {grad_cosine, grad_margins, grad_scale};
}

// `cosine` may be empty where the gradient of the scale is not wanted; `num_rows` -1: one a sample.
std::tuple<Tensor, Tensor, Tensor> margin_logits_backward_op(
    const Tensor& grad_logits, const Tensor& cosine, const Tensor& target, const Tensor& rows,
    const Tensor& labels, const Tensor& scale, int64_t num_rows) {
  check(grad_logits.dim() == 2, "grad_logits: expected shape (B, C)");
  const int64_t batch = grad_logits.size(0), classes = grad_logits.size(1);
  const int64_t table_rows = num_rows < 0 ? batch : num_rows;
  const LogitsBackward saved{torch::stable::contiguous(grad_logits),
                             torch::stable::contiguous(cosine),
                             torch::stable::contiguous(target),
                             indices("rows", rows, -1, table_rows),
                             indices("labels", labels, -1, classes),
                             scale,
                             table_rows};
  check_shape("rows", saved.rows, batch);
  check_shape("labels", saved.labels, batch);
  check(target.dim() == 2 && (target.size(0) == 3 || target.size(0) == 5),
        "target: expected 3 rows or 5");
  check_shape("target", target, target.size(0), batch);
  if (cosine.numel() != 0) check_shape("cosine", cosine, batch, classes);
  check_device("cosine", cosine, grad_logits);
  check_device("target", target, grad_logits);
  check_device("rows", rows, grad_logits);
  check_device("labels", labels, grad_logits);
  for (int64_t i = 0; i < batch && readable(saved.rows); ++i) {
    check(saved.rows.const_data_ptr<int64_t>()[i] < 0 ||
              saved.labels.const_data_ptr<int64_t>()[i] >= 0,
          "labels: -1 at position ", i, ", which has a row of margins");
  }
  check(grad_logits.scalar_type() == target.scalar_type() &&
            grad_logits.scalar_type() == cosine.scalar_type(),
        "grad_logits, cosine and target: expected one dtype");
  if (grad_logits.scalar_type() == ScalarType::Double) {
    return logits_backward<double>(saved);
  }
  check_type("grad_logits", grad_logits, ScalarType::Float, "float32 or float64");
  return logits_backward<float>(saved);
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "margin_logits(Tensor cosine, Tensor labels, Tensor margins, Tensor? groups, Tensor scale, "
      "int rows, int kind, int extension, bool straight_through) -> "
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
