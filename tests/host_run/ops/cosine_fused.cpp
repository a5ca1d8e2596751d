// The launchers of csrc/cuda/cosine_fused.h by themselves, for test_cosine_fused.py.
#include "../../../csrc/cuda/cosine_fused.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../../../csrc/ops/tensors.h"

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
                        const std::optional<Tensor>& kept, const Tensor& target_cosine,
                        const Tensor& partials) {
  const FusedArguments arguments(weight, embeddings, labels, first, scale, threshold, coefficients);
  with_type(weight, [&](auto type) {
    using T = decltype(type);
    using Saved = typename cuda::SavedCosine<T>::Type;
    cuda::launch_fused_terms<T>(
        {arguments.chunk, arguments.operands<T>(),
         kept.has_value() ? static_cast<Saved*>(kept->mutable_data_ptr()) : nullptr,
         target_cosine.mutable_data_ptr<float>(), partials.mutable_data_ptr<float>()},
        nullptr);
  });
}

static void fused_slopes(const Tensor& weight, const Tensor& embeddings, const Tensor& labels,
                         int64_t first, const Tensor& scale, const std::optional<Tensor>& threshold,
                         const std::optional<Tensor>& coefficients, const Tensor& pull,
                         const Tensor& push, const Tensor& nlse, const Tensor& slopes,
                         const Tensor& scale_partials) {
  const FusedArguments arguments(weight, embeddings, labels, first, scale, threshold, coefficients);
  const cuda::Upstream upstream{pull.const_data_ptr<float>(), push.const_data_ptr<float>(),
                                nlse.const_data_ptr<float>()};
  with_type(weight, [&](auto type) {
    using T = decltype(type);
    cuda::launch_fused_slopes<T>(
        {arguments.chunk, arguments.operands<T>(), upstream,
         static_cast<T*>(slopes.mutable_data_ptr()), scale_partials.mutable_data_ptr<double>()},
        nullptr);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss_host_run, m) {
  m.def(
      "fused_terms(Tensor weight, Tensor embeddings, Tensor labels, int first, Tensor scale, "
      "Tensor? threshold, Tensor? coefficients, Tensor(a!)? kept, Tensor(b!) target_cosine, "
      "Tensor(c!) partials) -> ()");
  m.def(
      "fused_slopes(Tensor weight, Tensor embeddings, Tensor labels, int first, Tensor scale, "
      "Tensor? threshold, Tensor? coefficients, Tensor pull, Tensor push, Tensor nlse, "
      "Tensor(a!) slopes, Tensor(b!) scale_partials) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss_host_run, CPU, m) {
  m.impl("fused_terms", TORCH_BOX(&fused_terms));
  m.impl("fused_slopes", TORCH_BOX(&fused_slopes));
}

}  // namespace fairloss::ops
