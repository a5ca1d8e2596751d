// The launchers of csrc/cuda/cosine_fused.h as ops, for test_cosine_fused.py.
#include "../../../csrc/cuda/cosine_fused.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../../../csrc/ops/cuda_views.h"

namespace fairloss::ops {

struct FusedArguments {
  Tensor weight, embeddings;
  cuda::ClassChunk chunk;

  FusedArguments(const Tensor& weight_, const Tensor& embeddings_, const Tensor& labels,
                 int64_t first, const Tensor& scale, const std::optional<Tensor>& threshold,
                 const std::optional<Tensor>& coefficients)
      : weight(weight_),
        embeddings(embeddings_),
        chunk{labels.numel(),
              embeddings.size(0),
              first,
              weight.size(0),
              labels.const_data_ptr<int64_t>(),
              scale.const_data_ptr<float>(),
              data_or_null<float>(threshold),
              data_or_null<float>(coefficients)} {}

  template <typename T>
  cuda::UnitOperands<T> operands() const {
    return {static_cast<const T*>(embeddings.const_data_ptr()),
            static_cast<const T*>(weight.const_data_ptr()), weight.size(1)};
  }
};

// Calls launch(T()) with the type of the operands.
template <typename Launch>
static void with_type(const Tensor& tensor, const Launch& launch) {
  switch (precision_of("weight", tensor)) {
    case Precision::float32: return launch(0.0f);
    case Precision::bfloat16: return launch(__nv_bfloat16());
    case Precision::float16: return launch(__half());
  }
}

static void fused_terms(const Tensor& weight, const Tensor& embeddings, const Tensor& labels,
                        int64_t first, const Tensor& scale, const std::optional<Tensor>& threshold,
                        const std::optional<Tensor>& coefficients,
                        const std::optional<Tensor>& saved_cosines, const Tensor& target_cosine,
                        const Tensor& partials) {
  const FusedArguments arguments(weight, embeddings, labels, first, scale, threshold, coefficients);
  with_type(weight, [&](auto type) {
    using T = decltype(type);
    using Saved = typename cuda::SavedCosine<T>::Type;
    cuda::launch_fused_terms<T>(
        {arguments.chunk, arguments.operands<T>(),
         saved_cosines.has_value() ? pointer_to<Saved>(*saved_cosines) : nullptr,
         target_cosine.mutable_data_ptr<float>(), partials.mutable_data_ptr<float>()},
        nullptr);
  });
}

static void fused_slopes(const Tensor& weight, const Tensor& embeddings, const Tensor& labels,
                         int64_t first, const Tensor& scale, const std::optional<Tensor>& threshold,
                         const std::optional<Tensor>& coefficients,
                         const Tensor& grad_target_cosine, const Tensor& grad_nlse,
                         const Tensor& nlse, const Tensor& grad_cosine,
                         const Tensor& grad_partials) {
  const FusedArguments arguments(weight, embeddings, labels, first, scale, threshold, coefficients);
  const cuda::Upstream upstream{floats(grad_target_cosine), floats(grad_nlse), floats(nlse)};
  with_type(weight, [&](auto type) {
    using T = decltype(type);
    cuda::launch_fused_slopes<T>({arguments.chunk, arguments.operands<T>(), upstream,
                                  pointer_to<T>(grad_cosine), pointer_to<double>(grad_partials)},
                                 nullptr);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss_host_run, m) {
  m.def(
      "fused_terms(Tensor weight, Tensor embeddings, Tensor labels, int first, Tensor scale, "
      "Tensor? threshold, Tensor? coefficients, Tensor(a!)? saved_cosines, Tensor(b!) "
      "target_cosine, "
      "Tensor(c!) partials) -> ()");
  m.def(
      "fused_slopes(Tensor weight, Tensor embeddings, Tensor labels, int first, Tensor scale, "
      "Tensor? threshold, Tensor? coefficients, Tensor grad_target_cosine, Tensor grad_nlse, "
      "Tensor nlse, Tensor(a!) grad_cosine, Tensor(b!) grad_partials) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss_host_run, CPU, m) {
  m.impl("fused_terms", TORCH_BOX(&fused_terms));
  m.impl("fused_slopes", TORCH_BOX(&fused_slopes));
}

}  // namespace fairloss::ops
