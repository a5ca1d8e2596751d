#include "../cpu/class_statistics.h"

#include "tensors.h"

namespace fairloss::ops {

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> class_statistics_op(
    const Tensor& embeddings, const Tensor& labels, int64_t num_classes) {
  check(num_classes > 0, "num_classes: expected at least 1, got ", num_classes);
  const Tensor samples = with_unit_columns("embeddings", embeddings);
  check_shape("labels", labels, samples.size(0));
  const Tensor classes = indices("labels", labels, -1, num_classes);
  const Tensor count = empty(samples, {num_classes}, ScalarType::Long);
  const Tensor center = empty(samples, {num_classes, samples.size(1)}, ScalarType::Float);
  const Tensor intra_angle = empty(samples, {num_classes}, ScalarType::Float);
  const Tensor intra_variance = empty(samples, {num_classes}, ScalarType::Float);
  const Tensor inter_angle = empty(samples, {num_classes}, ScalarType::Float);
  const Tensor nearest = empty(samples, {num_classes}, ScalarType::Long);
  class_statistics({samples.size(0), num_classes, rows_of("embeddings", samples),
                    classes.const_data_ptr<int64_t>(), count.mutable_data_ptr<int64_t>(),
                    center.mutable_data_ptr<float>(), intra_angle.mutable_data_ptr<float>(),
                    intra_variance.mutable_data_ptr<float>(), inter_angle.mutable_data_ptr<float>(),
                    nearest.mutable_data_ptr<int64_t>()},
                   torch_threads());
  return {count, center, intra_angle, intra_variance, inter_angle, nearest};
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "class_statistics(Tensor embeddings, Tensor labels, int num_classes) -> "
      "(Tensor count, Tensor center, Tensor intra_angle, Tensor intra_variance, "
      "Tensor inter_angle, Tensor nearest_class)");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss, CPU, m) {
  m.impl("class_statistics", TORCH_BOX(&class_statistics_op));
}

}  // namespace fairloss::ops
