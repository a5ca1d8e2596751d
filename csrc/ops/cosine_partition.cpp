#include "../cpu/cosine_partition.h"

#include <algorithm>

#include "cosine_partition_cuda.h"

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
  check(p.columns() == p.weight.size(1), "embeddings have ", p.columns(),
        " columns but weight has ", p.weight.size(1));
  precision_of("embeddings", p.embeddings);
  precision_of("weight", p.weight);
  check(p.classes() <= INT32_MAX, "weight: expected fewer than 2^31 rows, got ", p.classes());
  check_shape("labels", labels, p.batch());
  p.labels = indices("labels", labels, -1, p.classes());
  check(scale.numel() == 1, "scale: expected one number, got ", scale.numel());
  check_type("scale", scale, ScalarType::Float, "float32");
  check_device("weight", p.weight, embeddings);
  check_device("labels", p.labels, embeddings);
  check_device("scale", scale, embeddings);
  check(hard_threshold.has_value() == hard_coefficients.has_value(),
        "hard_threshold and hard_coefficients go together");
  if (!hard_threshold.has_value()) return p;
  check_shape("hard_threshold", *hard_threshold, p.batch());
  check_shape("hard_coefficients", *hard_coefficients, 3);
  p.hard_threshold = contiguous_floats("hard_threshold", *hard_threshold);
  p.hard_coefficients = contiguous_floats("hard_coefficients", *hard_coefficients);
  check_device("hard_threshold", *p.hard_threshold, embeddings);
  check_device("hard_coefficients", *p.hard_coefficients, embeddings);
  return p;
}

// What the kernels for CPUs read; they write to the same.
CosinePartition on_cpu(const PartitionTensors& p, const Tensor& kept, const Tensor& target_cosine,
                       const Tensor& negative_logsumexp) {
  CosinePartition problem{};
  problem.batch = p.batch();
  problem.classes = p.classes();
  problem.embeddings = rows_of("embeddings", p.embeddings);
  problem.weight = rows_of("weight", p.weight);
  problem.labels = p.labels.const_data_ptr<int64_t>();
  problem.scale = *p.scale.const_data_ptr<float>();
  problem.compute = p.compute;
  problem.hard_threshold = data_or_null<float>(p.hard_threshold);
  for (int k = 0; k < 3 && p.hard_coefficients.has_value(); ++k) {
    problem.hard[k] = p.hard_coefficients->const_data_ptr<float>()[k];
  }
  problem.target_cosine = target_cosine.mutable_data_ptr<float>();
  problem.negative_logsumexp = negative_logsumexp.mutable_data_ptr<float>();
  problem.kept = kept.size(0);
  problem.cosines = kept.mutable_data_ptr<float>();
  return problem;
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
  const ScalarType type = cuda ? kept_type(p.compute) : ScalarType::Float;
  const int64_t bytes = type == ScalarType::Float ? 4 : 2, block = cuda ? cuda::kGroup : kBlock;
  const int64_t rows = kept_classes(workspace / bytes, p.batch(), p.classes(), block);
  const Tensor target_cosine = empty(embeddings, {p.batch()}, ScalarType::Float);
  const Tensor nlse = empty(embeddings, {p.batch()}, ScalarType::Float);
  const Tensor kept = empty_large(embeddings, {rows, kept_stride(p.batch())}, type);
  if constexpr (kHasCuda) {
    if (cuda) {
      partition_on_cuda(p, kept, target_cosine, nlse);
      return {target_cosine, nlse, kept};
    }
  }
  cosine_partition(on_cpu(p, kept, target_cosine, nlse), torch_threads());
  return {target_cosine, nlse, kept};
}

std::tuple<Tensor, Tensor, Tensor> partition_backward(
    const Tensor& grad_target_cosine, const Tensor& grad_negative_logsumexp,
    const Tensor& embeddings, const Tensor& weight, const Tensor& labels, const Tensor& scale,
    const std::optional<Tensor>& hard_threshold, const std::optional<Tensor>& hard_coefficients,
    int64_t compute, bool fused, const Tensor& target_cosine, const Tensor& negative_logsumexp,
    const Tensor& cosines, bool need_embeddings, bool need_weight) {
  const PartitionTensors p =
      checked(embeddings, weight, labels, scale, hard_threshold, hard_coefficients, compute, fused);
  const bool cuda = runs_on_cuda(p);
  check(cosines.scalar_type() == (cuda ? kept_type(p.compute) : ScalarType::Float),
        "cosines: expected what the forward pass has kept");
  const int64_t columns = p.columns();
  const auto per_sample = [&](const char* name, const Tensor& values) {
    check_shape(name, values, p.batch());
    check_device(name, values, embeddings);
    return contiguous_floats(name, values);
  };
  PartitionGradient g{
      per_sample("grad_target_cosine", grad_target_cosine),
      per_sample("grad_negative_logsumexp", grad_negative_logsumexp),
      per_sample("target_cosine", target_cosine),
      per_sample("negative_logsumexp", negative_logsumexp),
      torch::stable::contiguous(cosines),
      empty(embeddings, {need_embeddings ? p.batch() : 0, columns}, embeddings.scalar_type()),
      empty_large(weight, {need_weight ? p.classes() : 0, columns}, weight.scalar_type()),
      torch::stable::new_empty(embeddings, {}, ScalarType::Float)};
  check_device("cosines", g.kept, embeddings);
  check_shape("cosines", g.kept, std::min(g.kept.size(0), p.classes()), kept_stride(p.batch()));
  if constexpr (kHasCuda) {
    if (cuda) {
      if (p.batch() == 0) torch::stable::zero_(g.weight);
      partition_backward_on_cuda(p, g);
      return {g.embeddings, g.weight, g.scale};
    }
  }
  cosine_partition_backward(
      on_cpu(p, g.kept, g.target_cosine, g.negative_logsumexp),
      {g.grad_target_cosine.const_data_ptr<float>(),
       g.grad_negative_logsumexp.const_data_ptr<float>(), rows_to("embeddings", g.embeddings),
       rows_to("weight", g.weight), g.scale.mutable_data_ptr<float>()},
      torch_threads());
  return {g.embeddings, g.weight, g.scale};
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "cosine_partition(Tensor embeddings, Tensor weight, Tensor labels, Tensor scale, "
      "Tensor? hard_threshold, Tensor? hard_coefficients, int compute, bool fused, SymInt "
      "workspace) -> "
      "(Tensor target_cosine, Tensor negative_logsumexp, Tensor cosines)");
  m.def(
      "cosine_partition_backward(Tensor grad_target_cosine, Tensor grad_negative_logsumexp, "
      "Tensor embeddings, Tensor weight, Tensor labels, Tensor scale, Tensor? hard_threshold, "
      "Tensor? hard_coefficients, int compute, bool fused, Tensor target_cosine, "
      "Tensor negative_logsumexp, Tensor cosines, bool need_embeddings, bool need_weight) -> "
      "(Tensor grad_embeddings, Tensor grad_weight, Tensor grad_scale)");
}

FAIRLOSS_IMPL(m) {
  m.impl("cosine_partition", TORCH_BOX(&partition_forward));
  m.impl("cosine_partition_backward", TORCH_BOX(&partition_backward));
}

}  // namespace fairloss::ops
