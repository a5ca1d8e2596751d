// cosine_partition on a GPU: chunks of classes, each a product and the kernels of csrc/cuda around
// it, or one of csrc/cuda/cosine_fused.h that is both. Nothing waits for the GPU.
//
//   forward    cosines (n, B) = unit weight . unit embeddings^T     then terms, and log-sum-exp
//   backward   slopes (n, B) from the cosines, kept or computed again; then
//              across weight = slopes . unit embeddings,  across embeddings = slopes^T . unit
//              weight and what lies along a row is taken away (launch_row_gradient)
#pragma once

#include "../cuda/cosine_fused.h"
#include "cosine_chunks.h"

namespace fairloss::ops {

// Cosines of 16-bit products are kept in 16 bits (csrc/cuda/cosine_terms.cuh).
inline ScalarType kept_type(Precision compute) {
  return compute == Precision::float32 ? ScalarType::Float : ScalarType::Short;
}

template <typename T>
cuda::UnitOperands<T> operands(const CosineChunks& chunks, const cuda::ClassChunk& chunk) {
  return {pointer_to<T>(chunks.embeddings()), pointer_to<T>(chunks.weight(chunk)), chunks.depth};
}

// kept: (classes that stay for the backward pass, stride) of kept_type.
inline void partition_on_cuda(const PartitionTensors& p, const Tensor& kept,
                              const Tensor& target_cosine, const Tensor& nlse) {
  const CosineChunks chunks(p);
  const int64_t groups = chunks.total(kept.size(0), cuda::groups_of);
  const Tensor partials = chunks.scratch({groups, 2, chunks.stride});
  const bool exact = p.compute == Precision::float32;  // then kept rows are the product itself
  const bool needs_room = !p.fused && !(exact && kept.size(0) == p.classes());
  const Tensor room = chunks.scratch({needs_room ? chunks.longest : 0, chunks.stride});
  float* partial = floats(partials);
  chunks.for_each(kept.size(0), [&](const cuda::ClassChunk& chunk, bool keeps) {
    const Tensor to = rows_in(kept, keeps ? chunk.first : 0, keeps ? chunk.rows : 0);
    if (p.fused) {
      with_cuda_type(p.compute, [&](auto type) {
        using T = typename decltype(type)::Type;
        using Kept = typename cuda::KeptBy<T>::Type;
        cuda::launch_fused_terms<T>(
            {chunk, operands<T>(chunks, chunk), keeps ? pointer_to<Kept>(to) : nullptr,
             floats(target_cosine), partial},
            chunks.stream);
      });
    } else {
      const Tensor cosines = keeps && exact ? to : rows_in(room, 0, chunk.rows);
      chunks.multiply(chunk, cosines);
      cuda::launch_cosine_terms(
          {chunk, floats(cosines), keeps && !exact ? pointer_to<int16_t>(to) : nullptr,
           floats(target_cosine), partial},
          chunks.stream);
    }
    partial += cuda::groups_of(chunk.rows) * 2 * chunks.stride;
  });
  cuda::launch_logsumexp({p.batch(), chunks.stride, p.classes(), groups, floats(partials),
                          p.labels.const_data_ptr<int64_t>(), floats(chunks.embedding_norms()),
                          floats(target_cosine), floats(nlse)},
                         chunks.stream);
}

// What the backward pass is given and what it writes; a gradient without rows is not wanted.
struct PartitionGradient {
  Tensor grad_target_cosine, grad_negative_logsumexp, target_cosine, negative_logsumexp, kept;
  Tensor embeddings, weight, scale;
};

// d loss / d cosine of every sample and class, chunk by chunk, times the boost.
class Slopes {
  const PartitionTensors& p_;
  const CosineChunks& chunks_;
  const Tensor samples_;  // (4, stride)
  const Tensor partials_, room_, slopes_;
  double* partial_;

  float* of_samples(int k) const { return floats(samples_) + k * chunks_.stride; }

 public:
  const Tensor boost;

  Slopes(const PartitionTensors& p, const CosineChunks& chunks, const PartitionGradient& g)
      : p_(p),
        chunks_(chunks),
        samples_(chunks.scratch({4, chunks.stride})),
        partials_(chunks.scratch(
            {chunks.total(g.kept.size(0),
                          [&](int64_t rows) { return cuda::tiles_of(rows, chunks.stride); })},
            ScalarType::Double)),
        room_(chunks.scratch(
            {!p.fused && g.kept.size(0) < p.classes() ? chunks.longest : 0, chunks.stride})),
        slopes_(chunks.scratch({chunks.longest, chunks.stride}, scalar_type(p.compute))),
        partial_(pointer_to<double>(partials_)),
        boost(chunks.scratch({})) {
    cuda::launch_upstream(
        {p.batch(), chunks.stride, floats(g.grad_target_cosine), floats(g.grad_negative_logsumexp),
         floats(g.target_cosine), floats(g.negative_logsumexp), p.scale.const_data_ptr<float>(),
         data_or_null<float>(p.hard_coefficients), p.compute == Precision::float16, of_samples(0),
         of_samples(1), of_samples(2), of_samples(3), floats(boost)},
        chunks.stream);
  }

  const float* own() const { return of_samples(3); }

  // (rows, stride) of the operands' dtype; until the next chunk.
  Tensor of(const cuda::ClassChunk& chunk, const Tensor& kept, bool keeps) {
    const Tensor slopes = rows_in(slopes_, 0, chunk.rows);
    with_cuda_type(p_.compute, [&](auto type) {
      using T = typename decltype(type)::Type;
      using Kept = typename cuda::KeptBy<T>::Type;
      if (keeps) {
        launch<Kept, T>(chunk, rows_in(kept, chunk.first, chunk.rows), slopes);
      } else if (p_.fused) {
        cuda::launch_fused_slopes<T>(
            {chunk, operands<T>(chunks_, chunk), upstream(), pointer_to<T>(slopes), partial_},
            chunks_.stream);
      } else {
        const Tensor cosines = rows_in(room_, 0, chunk.rows);
        chunks_.multiply(chunk, cosines);
        launch<float, T>(chunk, cosines, slopes);
      }
    });
    partial_ += cuda::tiles_of(chunk.rows, chunks_.stride);
    return slopes;
  }

  void sum_scale_gradient(const Tensor& gradient) const {
    cuda::launch_scale_gradient(partials_.numel(), pointer_to<double>(partials_), floats(boost),
                                floats(gradient), chunks_.stream);
  }

 private:
  cuda::Upstream upstream() const { return {of_samples(0), of_samples(1), of_samples(2)}; }

  template <typename Stored, typename T>
  void launch(const cuda::ClassChunk& chunk, const Tensor& cosines, const Tensor& slopes) const {
    cuda::launch_slopes<Stored, T>(
        {chunk, pointer_to<Stored>(cosines), upstream(), pointer_to<T>(slopes), partial_},
        chunks_.stream);
  }
};

// The gradient of unit rows to that of raw ones.
inline void row_gradient(const Tensor& raw, const Tensor& norms, const Tensor& across,
                         const Tensor& boost, const float* own, const Tensor& gradient,
                         cudaStream_t stream) {
  with_cuda_type(precision_of("rows", raw), [&](auto type) {
    using T = typename decltype(type)::Type;
    cuda::launch_row_gradient<T>({raw.size(0), across.size(1), cuda_rows<T>(raw), floats(norms),
                                  floats(across), floats(boost), own, pointer_to<T>(gradient)},
                                 stream);
  });
}

inline void partition_backward_on_cuda(const PartitionTensors& p, const PartitionGradient& g) {
  const CosineChunks chunks(p);
  Slopes slopes(p, chunks, g);
  const bool to_embeddings = g.embeddings.size(0) > 0, to_weight = g.weight.size(0) > 0;
  const Tensor across_weight = chunks.scratch({to_weight ? chunks.longest : 0, chunks.depth});
  const int64_t samples = to_embeddings ? chunks.stride : 0;
  const Tensor part = chunks.scratch({samples, chunks.depth});
  const Tensor across_embeddings =
      torch::stable::new_zeros(part, {samples, chunks.depth}, ScalarType::Float);
  chunks.for_each(g.kept.size(0), [&](const cuda::ClassChunk& chunk, bool keeps) {
    const Tensor of_chunk = slopes.of(chunk, g.kept, keeps);
    if (to_weight) {
      const Tensor across = rows_in(across_weight, 0, chunk.rows);
      gemm(of_chunk, chunks.embeddings(), across);
      row_gradient(rows_in(p.weight, chunk.first, chunk.rows), chunks.weight_norms(), across,
                   slopes.boost, nullptr, rows_in(g.weight, chunk.first, chunk.rows),
                   chunks.stream);
    }
    if (to_embeddings) {
      gemm(transposed(of_chunk), chunks.weight(chunk), part);
      cuda::launch_add(part.numel(), floats(part), floats(across_embeddings), chunks.stream);
    }
  });
  slopes.sum_scale_gradient(g.scale);
  if (!to_embeddings) return;
  row_gradient(p.embeddings, chunks.embedding_norms(), across_embeddings, slopes.boost,
               slopes.own(), g.embeddings, chunks.stream);
}

}  // namespace fairloss::ops
