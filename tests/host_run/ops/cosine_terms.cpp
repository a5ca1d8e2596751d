// Launchers of csrc/cuda/cosine_partition.h as ops, for chunks that are too large for the product
// before them.
#include "../../../csrc/ops/cosine_chunks.h"

namespace fairloss::ops {

static cuda::ClassChunk chunk_of(const Tensor& cosines, const Tensor& labels, const Tensor& scale,
                                 int64_t first) {
  return {labels.numel(),
          cosines.size(1),
          first,
          cosines.size(0),
          labels.const_data_ptr<int64_t>(),
          scale.const_data_ptr<float>(),
          nullptr,
          nullptr};
}

static void terms(const Tensor& cosines, const Tensor& labels, const Tensor& scale, int64_t first,
                  const Tensor& saved_cosines, const Tensor& target_cosine,
                  const Tensor& partials) {
  cuda::launch_cosine_terms(
      {chunk_of(cosines, labels, scale, first), floats(cosines), pointer_to<int16_t>(saved_cosines),
       floats(target_cosine), floats(partials)},
      nullptr);
}

static void slopes(const Tensor& cosines, const Tensor& labels, const Tensor& scale, int64_t first,
                   const Tensor& samples, const Tensor& grad_cosine, const Tensor& partials) {
  const float* upstream = floats(samples);
  const int64_t stride = cosines.size(1);
  cuda::launch_slopes<float, float>({chunk_of(cosines, labels, scale, first),
                                     floats(cosines),
                                     {upstream, upstream + stride, upstream + 2 * stride},
                                     floats(grad_cosine),
                                     pointer_to<double>(partials)},
                                    nullptr);
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss_host_run, m) {
  m.def(
      "cosine_terms(Tensor cosines, Tensor labels, Tensor scale, int first, Tensor(a!) "
      "saved_cosines, "
      "Tensor(b!) target_cosine, Tensor(c!) partials) -> ()");
  m.def(
      "slopes(Tensor cosines, Tensor labels, Tensor scale, int first, Tensor samples, "
      "Tensor(a!) grad_cosine, Tensor(b!) partials) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss_host_run, CPU, m) {
  m.impl("cosine_terms", TORCH_BOX(&terms));
  m.impl("slopes", TORCH_BOX(&slopes));
}

}  // namespace fairloss::ops
