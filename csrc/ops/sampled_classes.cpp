#include "../cpu/sampled_classes.h"

#include <tuple>

#include "../cuda/sampled_classes.h"
#include "views.h"

namespace fairloss::ops {

std::tuple<Tensor, Tensor> sampled_classes_op(const Tensor& labels, const Tensor& step,
                                              int64_t num_classes, int64_t samples, int64_t seed) {
  check(num_classes > 0 && num_classes <= INT32_MAX,
        "num_classes: expected at least 1 and fewer than 2^31, got ", num_classes);
  check(samples >= 0 && samples <= num_classes, "samples: expected 0 to ", num_classes, ", got ",
        samples);
  check_one_number("step", step, ScalarType::Long);
  check_device("step", step, labels);
  const int64_t batch = labels.numel();
  check_shape("labels", labels, batch);
  const Tensor classes = indices("labels", labels, -1, num_classes);
  const Tensor sampled = empty(labels, {samples + batch}, ScalarType::Long);
  const Tensor positions = empty(labels, {batch}, ScalarType::Long);
  const int64_t* const inputs[] = {classes.const_data_ptr<int64_t>(),
                                   step.const_data_ptr<int64_t>()};
  int64_t* const outputs[] = {sampled.mutable_data_ptr<int64_t>(),
                              positions.mutable_data_ptr<int64_t>()};
  if constexpr (kHasCuda) {
    if (on_cuda(labels)) {
      cuda::launch_sampled_classes(
          {batch, num_classes, samples, seed, inputs[0], inputs[1], outputs[0], outputs[1]},
          CudaStream(labels));
      return {sampled, positions};
    }
  }
  sampled_classes(
      {batch, num_classes, samples, inputs[0], *inputs[1], seed, outputs[0], outputs[1]});
  return {sampled, positions};
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "sampled_classes(Tensor labels, Tensor step, int num_classes, int samples, int seed) -> "
      "(Tensor classes, Tensor positions)");
}

FAIRLOSS_IMPL(m) { m.impl("sampled_classes", TORCH_BOX(&sampled_classes_op)); }

}  // namespace fairloss::ops
