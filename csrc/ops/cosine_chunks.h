// The operands of cosine_partition on a GPU: unit embeddings, and unit rows of the weight for one
// chunk of classes at a time, so that the normalized weight is never stored as a whole.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "../cuda/cosine_partition.h"
#include "cuda_views.h"
#include "gemm.h"

namespace fairloss::ops {

// The arguments of cosine_partition, checked.
struct PartitionTensors {
  Tensor embeddings, weight, labels, scale;
  std::optional<Tensor> hard_threshold, hard_coefficients;
  Precision compute;  // of the operands of products
  bool fused;         // use the kernels of csrc/cuda/cosine_fused.h, not a library's product

  int64_t batch() const { return embeddings.size(0); }
  int64_t classes() const { return weight.size(0); }
  int64_t columns() const { return embeddings.size(1); }
};

// Classes of a chunk. Each of its arrays, in float (n, samples) or (n, columns), is to fit in the
// L2 cache of a GPU: 40 MB on the smallest that the kernels are for. A backward pass has four
// arrays.
inline int64_t chunk_classes(int64_t stride, int64_t depth) {
#if defined(FAIRLOSS_HOST_RUN)  // small, so that there are several
  const char* classes = std::getenv("HOST_RUN_CHUNK");
  if (classes != nullptr) return std::atoll(classes);
  return cuda::kTileClasses;
#endif
  constexpr int64_t kBytes = 32 << 20, kMaxClasses = 1 << 16;
  const int64_t fitting = kBytes / (4 * std::max({stride, depth, int64_t(1)}));
  return std::clamp(fitting / cuda::kTileClasses * cuda::kTileClasses, cuda::kTileClasses,
                    kMaxClasses);
}

class CosineChunks {
  const PartitionTensors& p_;
  Tensor embeddings_, embedding_norms_;  // (stride, depth), (stride,)
  Tensor weight_, weight_norms_;         // (max_rows, depth), (max_rows,): of the current chunk

 public:
  const CudaStream stream;
  const int64_t stride, depth, max_rows;  // samples and columns with padding, classes of a chunk

  explicit CosineChunks(const PartitionTensors& p)
      : p_(p),
        stream(p.embeddings),
        stride(padded_batch(p.batch())),
        depth(round_up(p.columns(), cuda::kDepth)),
        max_rows(std::min(p.classes(), chunk_classes(stride, depth))) {
    embeddings_ = scratch({stride, depth}, scalar_type(p.compute));
    embedding_norms_ = scratch({stride});
    weight_ = scratch({max_rows, depth}, scalar_type(p.compute));
    weight_norms_ = scratch({max_rows});
    unit_rows(p.embeddings, p.batch(), stride, true, embeddings_, embedding_norms_);
  }

  const Tensor& embeddings() const { return embeddings_; }
  const Tensor& embedding_norms() const { return embedding_norms_; }
  const Tensor& weight_norms() const { return weight_norms_; }
  Tensor weight(const cuda::ClassChunk& chunk) const { return rows_in(weight_, 0, chunk.rows); }

  Tensor scratch(std::initializer_list<int64_t> sizes, ScalarType type = ScalarType::Float) const {
    return empty(p_.embeddings, sizes, type);
  }

  // Calls visit(chunk, is_saved), during which weight() is the chunk's. The saved classes come
  // first, and share no chunk with others.
  template <typename Visit>
  void for_each(int64_t saved, const Visit& visit) const {
    for_ranges(saved, [&](int64_t first, int64_t rows) {
      unit_rows(rows_in(p_.weight, first, rows), rows, rows, false, weight_, weight_norms_);
      visit(
          cuda::ClassChunk{p_.batch(), stride, first, rows, p_.labels.const_data_ptr<int64_t>(),
                           p_.scale.const_data_ptr<float>(), data_or_null<float>(p_.hard_threshold),
                           data_or_null<float>(p_.hard_coefficients)},
          first < saved);
    });
  }

  // The sum of count(classes of the chunk) over all chunks.
  template <typename Count>
  int64_t total(int64_t saved, const Count& count) const {
    int64_t sum = 0;
    for_ranges(saved, [&](int64_t, int64_t rows) { sum += count(rows); });
    return sum;
  }

  void multiply(const cuda::ClassChunk& chunk, const Tensor& cosines) const {
    gemm(weight(chunk), transposed(embeddings_), cosines);
  }

 private:
  template <typename Visit>
  void for_ranges(int64_t saved, const Visit& visit) const {
    int64_t first = 0;
    for (const int64_t end : {saved, p_.batch() == 0 ? 0 : p_.classes()}) {
      for (int64_t rows; first < end; first += rows) {
        rows = std::min(max_rows, end - first);
        visit(first, rows);
      }
    }
  }

  void unit_rows(const Tensor& raw, int64_t rows, int64_t padded_rows, bool zero_non_finite,
                 const Tensor& unit, const Tensor& norms) const {
    const bool tf32 = p_.fused && p_.compute == Precision::float32;
    with_cuda_type(precision_of("rows", raw), [&](auto in) {
      with_cuda_type(p_.compute, [&](auto out) {
        using In = typename decltype(in)::Type;
        using Out = typename decltype(out)::Type;
        cuda::launch_unit_rows<In, Out>(
            {rows, padded_rows, depth, cuda_view<In>(raw), zero_non_finite, tf32,
             pointer_to<Out>(unit), floats(norms)},
            stream);
      });
    });
  }
};

}  // namespace fairloss::ops
