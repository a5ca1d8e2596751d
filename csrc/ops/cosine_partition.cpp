#include "../cpu/cosine_partition.h"

#include <algorithm>

#include "tensors.h"

namespace fairloss::ops {

struct PartitionArguments {
  Tensor embeddings, weight, labels;
  std::optional<Tensor> hard_threshold;
  CosinePartition problem{};

  PartitionArguments(const Tensor& embeddings_, const Tensor& weight_, const Tensor& labels_,
                     const Tensor& scale, const std::optional<Tensor>& hard_threshold_,
                     const std::optional<Tensor>& hard_coefficients, int64_t compute)
      : embeddings(with_unit_columns("embeddings", embeddings_)),
        weight(with_unit_columns("weight", weight_)) {
    check(embeddings.size(1) == weight.size(1), "embeddings have ", embeddings.size(1),
          " columns but weight has ", weight.size(1));
    problem.batch = embeddings.size(0);
    problem.classes = weight.size(0);
    check(problem.classes <= INT32_MAX, "weight: expected fewer than 2^31 rows, got ",
          problem.classes);
    check_shape("labels", labels_, problem.batch);
    labels = indices("labels", labels_, -1, problem.classes);
    problem.embeddings = rows_of("embeddings", embeddings);
    problem.weight = rows_of("weight", weight);
    problem.labels = labels.const_data_ptr<int64_t>();
    check(compute >= 0 && compute <= 2, "compute: expected 0 to 2, got ", compute);
    problem.compute = Precision(compute);
    problem.scale = scalar_of<float>("scale", scale);
    check(hard_threshold_.has_value() == hard_coefficients.has_value(),
          "hard_threshold and hard_coefficients go together");
    if (!hard_threshold_.has_value()) return;
    check_shape("hard_threshold", *hard_threshold_, problem.batch);
    check_shape("hard_coefficients", *hard_coefficients, 3);
    hard_threshold = contiguous_floats("hard_threshold", *hard_threshold_);
    problem.hard_threshold = hard_threshold->const_data_ptr<float>();
    const Tensor coefficients = contiguous_floats("hard_coefficients", *hard_coefficients);
    for (int k = 0; k < 3; ++k) problem.hard[k] = coefficients.const_data_ptr<float>()[k];
  }
};

std::tuple<Tensor, Tensor, Tensor> partition_forward(const Tensor& embeddings, const Tensor& weight,
                                                     const Tensor& labels, const Tensor& scale,
                                                     const std::optional<Tensor>& hard_threshold,
                                                     const std::optional<Tensor>& hard_coefficients,
                                                     int64_t compute, int64_t workspace) {
  PartitionArguments arguments(embeddings, weight, labels, scale, hard_threshold, hard_coefficients,
                               compute);
  CosinePartition& p = arguments.problem;
  const Tensor target_cosine = empty(embeddings, {p.batch}, ScalarType::Float);
  const Tensor nlse = empty(embeddings, {p.batch}, ScalarType::Float);
  check(workspace >= 0, "workspace: expected at least 0 bytes, got ", workspace);
  p.kept = kept_classes(workspace, p.batch, p.classes);
  const Tensor cosines = empty_large(embeddings, {p.kept, kept_stride(p.batch)}, ScalarType::Float);
  p.target_cosine = target_cosine.mutable_data_ptr<float>();
  p.negative_logsumexp = nlse.mutable_data_ptr<float>();
  p.cosines = cosines.mutable_data_ptr<float>();
  cosine_partition(p, torch_threads());
  return {target_cosine, nlse, cosines};
}

std::tuple<Tensor, Tensor, Tensor> partition_backward(
    const Tensor& grad_target_cosine, const Tensor& grad_negative_logsumexp,
    const Tensor& embeddings, const Tensor& weight, const Tensor& labels, const Tensor& scale,
    const std::optional<Tensor>& hard_threshold, const std::optional<Tensor>& hard_coefficients,
    int64_t compute, const Tensor& target_cosine, const Tensor& negative_logsumexp,
    const Tensor& cosines, bool need_embeddings, bool need_weight) {
  PartitionArguments arguments(embeddings, weight, labels, scale, hard_threshold, hard_coefficients,
                               compute);
  CosinePartition& p = arguments.problem;
  const Tensor target = contiguous_floats("target_cosine", target_cosine);
  const Tensor nlse = contiguous_floats("negative_logsumexp", negative_logsumexp);
  const Tensor kept = contiguous_floats("cosines", cosines);
  const Tensor grad_target = contiguous_floats("grad_target_cosine", grad_target_cosine);
  const Tensor grad_nlse = contiguous_floats("grad_negative_logsumexp", grad_negative_logsumexp);
  check_shape("target_cosine", target, p.batch);
  check_shape("negative_logsumexp", nlse, p.batch);
  check_shape("grad_target_cosine", grad_target, p.batch);
  check_shape("grad_negative_logsumexp", grad_nlse, p.batch);
  check_shape("cosines", kept, std::min(kept.size(0), p.classes), kept_stride(p.batch));
  p.target_cosine = target.mutable_data_ptr<float>();
  p.negative_logsumexp = nlse.mutable_data_ptr<float>();
  p.kept = kept.size(0);
  p.cosines = kept.mutable_data_ptr<float>();

  const int64_t columns = p.embeddings.columns;
  const Tensor grad_embeddings =
      empty(embeddings, {need_embeddings ? p.batch : 0, columns}, embeddings.scalar_type());
  const Tensor grad_weight =
      empty_large(weight, {need_weight ? p.classes : 0, columns}, weight.scalar_type());
  const Tensor grad_scale = torch::stable::new_empty(embeddings, {}, ScalarType::Float);
  cosine_partition_backward(p,
                            {grad_target.const_data_ptr<float>(), grad_nlse.const_data_ptr<float>(),
                             rows_to("embeddings", grad_embeddings), rows_to("weight", grad_weight),
                             grad_scale.mutable_data_ptr<float>()},
                            torch_threads());
  return {grad_embeddings, grad_weight, grad_scale};
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "cosine_partition(Tensor embeddings, Tensor weight, Tensor labels, Tensor scale, "
      "Tensor? hard_threshold, Tensor? hard_coefficients, int compute, SymInt workspace) -> "
      "(Tensor target_cosine, Tensor negative_logsumexp, Tensor cosines)");
  m.def(
      "cosine_partition_backward(Tensor grad_target_cosine, Tensor grad_negative_logsumexp, "
      "Tensor embeddings, Tensor weight, Tensor labels, Tensor scale, Tensor? hard_threshold, "
      "Tensor? hard_coefficients, int compute, Tensor target_cosine, "
      "Tensor negative_logsumexp, Tensor cosines, bool need_embeddings, bool need_weight) -> "
      "(Tensor grad_embeddings, Tensor grad_weight, Tensor grad_scale)");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss, CPU, m) {
  m.impl("cosine_partition", TORCH_BOX(&partition_forward));
  m.impl("cosine_partition_backward", TORCH_BOX(&partition_backward));
}

}  // namespace fairloss::ops
