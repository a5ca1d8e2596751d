// cosine_partition on a GPU: chunks of classes, each a matrix product and the kernels of csrc/cuda
// around it, or a kernel of csrc/cuda/cosine_fused.h that is both. Nothing synchronizes with the
// GPU.
//
//   forward    cosines (n, B) = unit weight . unit embeddings^T, then their terms and log-sum-exp
//   backward   grad_cosine (n, B) from the cosines, saved or computed again; then
//              grad_unit_weight = grad_cosine . unit embeddings,
//              grad_unit_embeddings = grad_cosine^T . unit weight,
//              and the gradients of the raw rows from those (launch_row_gradient)
#pragma once

#include "../cuda/cosine_fused.h"
#include "cosine_chunks.h"

namespace fairloss::ops {

// See cuda::TermsProblem.
inline ScalarType saved_type(Precision compute, bool cuda) {
  return cuda && compute != Precision::float32 ? ScalarType::Short : ScalarType::Float;
}

// What the backward pass reads and writes; a gradient without elements is not computed.
struct PartitionGradient {
  std::optional<Tensor> grad_target_cosine, grad_negative_logsumexp;  // absent: zeros
  Tensor target_cosine, negative_logsumexp, saved_cosines;
  Tensor grad_embeddings, grad_weight, grad_scale;

  bool to_scale() const { return grad_scale.numel() > 0; }
};

template <typename T>
cuda::UnitOperands<T> operands(const CosineChunks& chunks, const cuda::ClassChunk& chunk) {
  return {pointer_to<T>(chunks.embeddings()), pointer_to<T>(chunks.weight(chunk)), chunks.depth};
}

// saved_cosines: (saved classes, stride) of saved_type.
inline void partition_on_cuda(const PartitionTensors& p, const Tensor& saved_cosines,
                              const Tensor& target_cosine, const Tensor& nlse) {
  const CosineChunks chunks(p);
  const int64_t saved = saved_cosines.size(0);
  const int64_t num_partials = chunks.total(saved, cuda::class_tiles);
  const Tensor partials = chunks.scratch({num_partials, 2, chunks.stride});
  const bool exact = p.compute == Precision::float32;  // then saved rows are the product itself
  const bool needs_scratch = !p.fused && !(exact && saved == p.classes());
  const Tensor scratch = chunks.scratch({needs_scratch ? chunks.max_rows : 0, chunks.stride});
  float* partial = floats(partials);
  chunks.for_each(saved, [&](const cuda::ClassChunk& chunk, bool is_saved) {
    const Tensor out =
        rows_in(saved_cosines, is_saved ? chunk.first : 0, is_saved ? chunk.rows : 0);
    if (p.fused) {
      with_cuda_type(p.compute, [&](auto type) {
        using T = typename decltype(type)::Type;
        using Saved = typename cuda::SavedCosine<T>::Type;
        cuda::launch_fused_terms<T>(
            {chunk, operands<T>(chunks, chunk), is_saved ? pointer_to<Saved>(out) : nullptr,
             floats(target_cosine), partial},
            chunks.stream);
      });
    } else {
      const Tensor cosines = is_saved && exact ? out : rows_in(scratch, 0, chunk.rows);
      chunks.multiply(chunk, cosines);
      cuda::launch_cosine_terms(
          {chunk, floats(cosines), is_saved && !exact ? pointer_to<int16_t>(out) : nullptr,
           floats(target_cosine), partial},
          chunks.stream);
    }
    partial += cuda::class_tiles(chunk.rows) * 2 * chunks.stride;
  });
  const Tensor parts =
      chunks.scratch({cuda::logsumexp_parts(num_partials), 2, chunks.stride}, ScalarType::Double);
  cuda::launch_logsumexp({p.batch(), chunks.stride, p.classes(), num_partials, floats(partials),
                          pointer_to<double>(parts), p.labels.const_data_ptr<int64_t>(),
                          floats(chunks.embedding_norms()), floats(target_cosine), floats(nlse)},
                         chunks.stream);
}

// The gradients of the cosines, chunk by chunk, times the gradient scale.
class CosineGradients {
 public:
  CosineGradients(const PartitionTensors& p, const CosineChunks& chunks,
                  const PartitionGradient& g);

  // (rows, stride) of the operands' dtype, valid until the next chunk.
  Tensor of_chunk(const cuda::ClassChunk& chunk, bool is_saved);

  // Writes the gradient of the scale, once all chunks have been computed.
  void sum_grad_scale() const;

  const float* gradient_scale() const { return floats(gradient_scale_); }
  const float* replacement() const { return per_sample(3); }  // as in cuda::UpstreamProblem

 private:
  float* per_sample(int row) const { return floats(per_sample_) + row * chunks_.stride; }
  cuda::Upstream upstream() const { return {per_sample(0), per_sample(1), per_sample(2)}; }

  template <typename Stored, typename T>
  void launch(const cuda::ClassChunk& chunk, const Tensor& cosines, const Tensor& out) const {
    cuda::launch_slopes<Stored, T>(
        {chunk, pointer_to<Stored>(cosines), upstream(), pointer_to<T>(out), partial_},
        chunks_.stream);
  }

  const PartitionTensors& p_;
  const CosineChunks& chunks_;
  const PartitionGradient& g_;
  const Tensor per_sample_;  // (4, stride)
  const Tensor gradient_scale_, partials_, scratch_, grad_cosine_;
  double* partial_;  // of the next chunk, or null: the scale's gradient is not computed
};

inline CosineGradients::CosineGradients(const PartitionTensors& p, const CosineChunks& chunks,
                                        const PartitionGradient& g)
    : p_(p),
      chunks_(chunks),
      g_(g),
      per_sample_(chunks.scratch({4, chunks.stride})),
      gradient_scale_(chunks.scratch({})),
      partials_(chunks.scratch(
          {g.to_scale()
               ? chunks.total(g.saved_cosines.size(0),
                              [&](int64_t rows) { return cuda::tiles_of(rows, chunks.stride); })
               : 0},
          ScalarType::Double)),
      scratch_(
          chunks.scratch({!p.fused && g.saved_cosines.size(0) < p.classes() ? chunks.max_rows : 0,
                          chunks.stride})),
      grad_cosine_(chunks.scratch({chunks.max_rows, chunks.stride}, scalar_type(p.compute))),
      partial_(g.to_scale() ? pointer_to<double>(partials_) : nullptr) {
  cuda::launch_upstream(
      {p.batch(), chunks.stride, data_or_null<float>(g.grad_target_cosine),
       data_or_null<float>(g.grad_negative_logsumexp), floats(g.target_cosine),
       floats(g.negative_logsumexp), p.scale.const_data_ptr<float>(),
       data_or_null<float>(p.hard_coefficients), p.compute == Precision::float16, per_sample(0),
       per_sample(1), per_sample(2), per_sample(3), floats(gradient_scale_)},
      chunks.stream);
}

inline Tensor CosineGradients::of_chunk(const cuda::ClassChunk& chunk, bool is_saved) {
  const Tensor out = rows_in(grad_cosine_, 0, chunk.rows);
  with_cuda_type(p_.compute, [&](auto type) {
    using T = typename decltype(type)::Type;
    using Saved = typename cuda::SavedCosine<T>::Type;
    if (is_saved) {
      launch<Saved, T>(chunk, rows_in(g_.saved_cosines, chunk.first, chunk.rows), out);
    } else if (p_.fused) {
      cuda::launch_fused_slopes<T>(
          {chunk, operands<T>(chunks_, chunk), upstream(), pointer_to<T>(out), partial_},
          chunks_.stream);
    } else {
      const Tensor cosines = rows_in(scratch_, 0, chunk.rows);
      chunks_.multiply(chunk, cosines);
      launch<float, T>(chunk, cosines, out);
    }
  });
  if (partial_ != nullptr) partial_ += cuda::tiles_of(chunk.rows, chunks_.stride);
  return out;
}

inline void CosineGradients::sum_grad_scale() const {
  cuda::launch_scale_gradient(partials_.numel(), pointer_to<double>(partials_), gradient_scale(),
                              floats(g_.grad_scale), chunks_.stream);
}

// The gradient of raw rows from that of the unit rows; replacement: as in cuda::RowGradientProblem.
inline void row_gradient(const Tensor& raw, const Tensor& inverse_norms, const Tensor& grad_unit,
                         const float* gradient_scale, const float* replacement,
                         const Tensor& grad_raw, cudaStream_t stream) {
  with_cuda_type(precision_of("rows", raw), [&](auto type) {
    using T = typename decltype(type)::Type;
    cuda::launch_row_gradient<T>(
        {raw.size(0), grad_unit.size(1), cuda_view<T>(raw), floats(inverse_norms),
         floats(grad_unit), gradient_scale, replacement, pointer_to<T>(grad_raw)},
        stream);
  });
}

inline void partition_backward_on_cuda(const PartitionTensors& p, const PartitionGradient& g) {
  if (p.batch() == 0) {  // then there are no chunks
    Tensor grad_weight = g.grad_weight;
    torch::stable::zero_(grad_weight);
  }
  const CosineChunks chunks(p);
  CosineGradients gradients(p, chunks, g);
  const float* gradient_scale = gradients.gradient_scale();
  const bool to_embeddings = g.grad_embeddings.size(0) > 0, to_weight = g.grad_weight.size(0) > 0;
  const Tensor grad_unit_weight = chunks.scratch({to_weight ? chunks.max_rows : 0, chunks.depth});
  const int64_t samples = to_embeddings ? chunks.stride : 0;
  const Tensor product = chunks.scratch({samples, chunks.depth});
  const Tensor grad_unit_embeddings =
      torch::stable::new_zeros(product, {samples, chunks.depth}, ScalarType::Float);
  chunks.for_each(g.saved_cosines.size(0), [&](const cuda::ClassChunk& chunk, bool is_saved) {
    const Tensor grad_cosine = gradients.of_chunk(chunk, is_saved);
    if (to_weight) {
      const Tensor grad_unit = rows_in(grad_unit_weight, 0, chunk.rows);
      gemm(grad_cosine, chunks.embeddings(), grad_unit);
      row_gradient(rows_in(p.weight, chunk.first, chunk.rows), chunks.weight_norms(), grad_unit,
                   gradient_scale, nullptr, rows_in(g.grad_weight, chunk.first, chunk.rows),
                   chunks.stream);
    }
    if (to_embeddings) {
      gemm(transposed(grad_cosine), chunks.weight(chunk), product);
      cuda::launch_add(product.numel(), floats(product), floats(grad_unit_embeddings),
                       chunks.stream);
    }
  });
  if (g.to_scale()) gradients.sum_grad_scale();
  if (!to_embeddings) return;
  row_gradient(p.embeddings, chunks.embedding_norms(), grad_unit_embeddings, gradient_scale,
               gradients.replacement(), g.grad_embeddings, chunks.stream);
}

}  // namespace fairloss::ops
