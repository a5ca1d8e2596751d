#include "../cpu/cosine_partition.h"

#include <algorithm>
#include <tuple>

#include "cosine_partition_cuda.h"
#include "parallel.h"

namespace fairloss::ops {

PartitionTensors checked(const Tensor& embeddings, const Tensor& weight, const Tensor& labels,
                         const Tensor& scale, const std::optional<Tensor>& hard_threshold,
                         const std::optional<Tensor>& hard_coefficients, int64_t compute,
                         bool fused) {
  check(compute >= 0 && compute <= 2, "compute: expected 0 to 2, got ", compute);
  PartitionTensors p{with_unit_columns("embeddings", embeddings),
                     with_unit_columns("weight", weight),
                     labels,
                     scale,
                     std::nullopt,
                     std::nullopt,
                     Precision(compute),
                     fused};
  check_shape("weight", weight, p.classes(), p.columns());
  precision_of("embeddings", p.embeddings);
  precision_of("weight", p.weight);
  check(p.classes() <= INT32_MAX, "weight: expected fewer than 2^31 rows, got ", p.classes());
  check_shape("labels", labels, p.batch());
  p.labels = indices("labels", labels, -1, p.classes());
  check_one_number("scale", scale, ScalarType::Float);
  check_device("weight", p.weight, embeddings);
  check_device("labels", p.labels, embeddings);
  check_device("scale", scale, embeddings);
  check(hard_threshold.has_value() == hard_coefficients.has_value(),
        "hard_threshold: expected hard_coefficients beside it, or neither, got one of the two");
  if (!hard_threshold.has_value()) return p;
  check_shape("hard_threshold", *hard_threshold, p.batch());
  check_shape("hard_coefficients", *hard_coefficients, 3);
  p.hard_threshold = contiguous_floats("hard_threshold", *hard_threshold);
  p.hard_coefficients = contiguous_floats("hard_coefficients", *hard_coefficients);
  check_device("hard_threshold", *p.hard_threshold, embeddings);
  check_device("hard_coefficients", *p.hard_coefficients, embeddings);
  return p;
}

// The problem of the CPU kernels; the backward pass reads the outputs of the forward pass.
CosinePartition cpu_problem(const PartitionTensors& p, const Tensor& saved_cosines,
                            const Tensor& target_cosine, const Tensor& negative_logsumexp) {
  return {p.batch(),
          p.classes(),
          view_of("embeddings", p.embeddings),
          view_of("weight", p.weight),
          p.labels.const_data_ptr<int64_t>(),
          *p.scale.const_data_ptr<float>(),
          p.compute,
          data_or_null<float>(p.hard_threshold),
          data_or_null<float>(p.hard_coefficients),
          floats(target_cosine),
          floats(negative_logsumexp),
          saved_cosines.size(0),
          floats(saved_cosines)};
}

bool runs_on_cuda(const PartitionTensors& p) { return kHasCuda && on_cuda(p.embeddings); }

std::tuple<Tensor, Tensor, Tensor> partition_forward(const Tensor& embeddings, const Tensor& weight,
                                                     const Tensor& labels, const Tensor& scale,
                                                     const std::optional<Tensor>& hard_threshold,
                                                     const std::optional<Tensor>& hard_coefficients,
                                                     int64_t compute, bool fused,
                                                     int64_t workspace) {
  const PartitionTensors p =
      checked(embeddings, weight, labels, scale, hard_threshold, hard_coefficients, compute, fused);
  check(workspace >= 0, "workspace: expected at least 0 bytes, got ", workspace);
  const bool cuda = runs_on_cuda(p);
  const ScalarType type = saved_type(p.compute, cuda);
  const int64_t bytes = type == ScalarType::Float ? 4 : 2;
  const int64_t rows = fitting_classes(workspace / bytes, p.batch(), p.classes(),
                                       cuda ? kCudaTileClasses : kCpuTileClasses);
  const Tensor target_cosine = empty(embeddings, {p.batch()}, ScalarType::Float);
  const Tensor nlse = empty(embeddings, {p.batch()}, ScalarType::Float);
  const Tensor saved_cosines = empty_large(embeddings, {rows, padded_batch(p.batch())}, type);
  if (cuda) {
    if constexpr (kHasCuda) partition_on_cuda(p, saved_cosines, target_cosine, nlse);
  } else {
    cosine_partition(cpu_problem(p, saved_cosines, target_cosine, nlse), torch_threads());
  }
  return {target_cosine, nlse, saved_cosines};
}

std::tuple<Tensor, Tensor, Tensor> partition_backward(
    const std::optional<Tensor>& grad_target_cosine,
    const std::optional<Tensor>& grad_negative_logsumexp, const Tensor& embeddings,
    const Tensor& weight, const Tensor& labels, const Tensor& scale,
    const std::optional<Tensor>& hard_threshold, const std::optional<Tensor>& hard_coefficients,
    int64_t compute, bool fused, const Tensor& target_cosine, const Tensor& negative_logsumexp,
    const Tensor& saved_cosines, bool need_embeddings, bool need_weight, bool need_scale) {
  const PartitionTensors p =
      checked(embeddings, weight, labels, scale, hard_threshold, hard_coefficients, compute, fused);
  const bool cuda = runs_on_cuda(p);
  check_dtype("saved_cosines", saved_cosines, saved_type(p.compute, cuda));
  const int64_t columns = p.columns();
  const auto per_sample = [&](const char* name, const Tensor& values) {
    check_shape(name, values, p.batch());
    check_device(name, values, embeddings);
    return contiguous_floats(name, values);
  };
  const auto upstream = [&](const char* name, const std::optional<Tensor>& values) {
    return values.has_value() ? std::optional(per_sample(name, *values)) : std::nullopt;
  };
  const PartitionGradient g{
      upstream("grad_target_cosine", grad_target_cosine),
      upstream("grad_negative_logsumexp", grad_negative_logsumexp),
      per_sample("target_cosine", target_cosine),
      per_sample("negative_logsumexp", negative_logsumexp),
      torch::stable::contiguous(saved_cosines),
      empty(embeddings, {need_embeddings ? p.batch() : 0, columns}, embeddings.scalar_type()),
      empty_large(weight, {need_weight ? p.classes() : 0, columns}, weight.scalar_type()),
      need_scale ? empty(embeddings, {}, ScalarType::Float)
                 : empty(embeddings, {0}, ScalarType::Float)};
  check_device("saved_cosines", g.saved_cosines, embeddings);
  check_shape("saved_cosines", g.saved_cosines, std::min(saved_cosines.size(0), p.classes()),
              padded_batch(p.batch()));
  if (cuda) {
    if constexpr (kHasCuda) partition_backward_on_cuda(p, g);
  } else {
    cosine_partition_backward(
        cpu_problem(p, g.saved_cosines, g.target_cosine, g.negative_logsumexp),
        {data_or_null<float>(g.grad_target_cosine), data_or_null<float>(g.grad_negative_logsumexp),
         mutable_view_of("embeddings", g.grad_embeddings), mutable_view_of("weight", g.grad_weight),
         g.to_scale() ? floats(g.grad_scale) : nullptr},
        torch_threads());
  }
  return {g.grad_embeddings, g.grad_weight, g.grad_scale};
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "cosine_partition(Tensor embeddings, Tensor weight, Tensor labels, Tensor scale, "
      "Tensor? hard_threshold, Tensor? hard_coefficients, int compute, bool fused, SymInt "
      "workspace) -> "
      "(Tensor target_cosine, Tensor negative_logsumexp, Tensor saved_cosines)");
  m.def(
      "cosine_partition_backward(Tensor? grad_target_cosine, Tensor? grad_negative_logsumexp, "
      "Tensor embeddings, Tensor weight, Tensor labels, Tensor scale, Tensor? hard_threshold, "
      "Tensor? hard_coefficients, int compute, bool fused, Tensor target_cosine, "
      "Tensor negative_logsumexp, Tensor saved_cosines, bool need_embeddings, bool need_weight, "
      "bool need_scale) -> "
      "(Tensor grad_embeddings, Tensor grad_weight, Tensor grad_scale)");
}

FAIRLOSS_IMPL(m) {
  m.impl("cosine_partition", TORCH_BOX(&partition_forward));
  m.impl("cosine_partition_backward", TORCH_BOX(&partition_backward));
}

}  // namespace fairloss::ops
