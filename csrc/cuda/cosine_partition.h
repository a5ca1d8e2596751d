// The kernels of cosine_partition between its matrix products. Classes come in chunks: a product
// makes the cosines of a chunk with the whole batch, class-major, and a kernel reads them in one
// pass. csrc/ops/cosine_partition_cuda.h calls them in order.
#pragma once

#include "cuda_types.h"
#include "fairloss/saved_cosines.h"
#include "matrix_view.h"

namespace fairloss::cuda {

// A tile of cosines: the classes whose terms make one partial sum, by as many samples. The tiles of
// cosine_fused.cu are the same.
constexpr int64_t kTileClasses = kCudaTileClasses, kTileSamples = 128;
// Operands are padded with zeros to whole steps of a tensor core: 32 columns are two steps of 16
// bits, or four of TF32.
constexpr int64_t kDepth = 32;

FAIRLOSS_INLINE int64_t class_tiles(int64_t classes) {
  return round_up(classes, kTileClasses) / kTileClasses;
}
FAIRLOSS_INLINE int64_t tiles_of(int64_t classes, int64_t stride) {
  return class_tiles(classes) * (round_up(stride, kTileSamples) / kTileSamples);
}

// The classes [first, first + rows) with the whole batch. All pointers are the device's.
struct ClassChunk {
  int64_t batch, stride;           // stride: padded_batch(B)
  int64_t first, rows;             // of the chunk
  const int64_t* labels;           // (B,), -1: no class is excluded
  const float* scale;              // one number
  const float* hard_threshold;     // (B,), or null: no hard-negative transform
  const float* hard_coefficients;  // (3,), (a, b, d) of the transform
};

// Cosines are saved for the backward pass as float or, where operands of products have 16 bits, as
// int16_t in steps of 1 / 32767. Such a cosine is off by at most 2^-16, which at a scale of 64 is
// 0.1% of a probability; an exponential saved as bfloat16, of the same size, would be off by 0.2%.
struct TermsProblem {
  ClassChunk chunk;
  const float* cosines;    // (rows, stride)
  int16_t* saved_cosines;  // (rows, stride), or null: saved as float, or not at all

  float* target_cosine;  // (B,), written where the target is in the chunk
  float* partials;       // (class_tiles(rows), 2, stride): greatest logit, sum relative to it
};

// One pass over the cosines of a chunk: partial sums of exp(scale f(cos)) without the targets, with
// f the hard-negative transform.
void launch_cosine_terms(const TermsProblem& problem, cudaStream_t stream);

// Partial sums that a block of threads merges: 8 in each of its 8 warps, whose loads need not wait
// for each other. A million classes make 123 parts, each of which is a block's for 32 samples.
constexpr int64_t kPartPartials = 64;

FAIRLOSS_INLINE int64_t logsumexp_parts(int64_t num_partials) {
  return round_up(num_partials, kPartPartials) / kPartPartials;
}

struct LogSumExpProblem {
  int64_t batch, stride, classes, num_partials;
  const float* partials;       // (num_partials, 2, stride) of all chunks
  double* parts;               // (logsumexp_parts(num_partials), 2, stride) scratch
  const int64_t* labels;       // (B,); out of range: NaN for the sample
  const float* inverse_norms;  // (B,) of the embeddings, NaN: not finite

  float* target_cosine;       // (B,), completed: 0 at label -1, NaN for invalid samples
  float* negative_logsumexp;  // (B,)
};

// Merges the partial sums in parts, and then the parts: the order of each sum depends on the shape
// only.
void launch_logsumexp(const LogSumExpProblem& problem, cudaStream_t stream);

// The upstream gradients of every sample; one launch for the whole backward pass.
struct UpstreamProblem {
  int64_t batch, stride;
  const float* grad_target_cosine;       // (B,), or null: zeros
  const float* grad_negative_logsumexp;  // (B,), or null: zeros
  const float* target_cosine;            // (B,)
  const float* negative_logsumexp;       // (B,)
  const float* scale;                    // one number
  const float* hard_coefficients;        // (3,) or null, as in ClassChunk
  bool float16;  // of operands: gradients get the factor of fairloss/gradient_scale.h, else 1

  float*
      scaled_grad_target_cosine;  // (stride,) times gradient_scale; 0 where outputs are not finite
  float* scaled_grad_nlse;        // (stride,) likewise
  float* nlse;         // (stride,) +inf where the gradient is 0 in any case: exp(. - nlse) = 0
  float* replacement;  // (stride,) 1, or the gradient of an embedding whose outputs are not finite:
                       // NaN, 0 where both upstream gradients are 0
  float* gradient_scale;  // one number
};

void launch_upstream(const UpstreamProblem& problem, cudaStream_t stream);

struct Upstream {
  const float *grad_target_cosine, *grad_nlse, *nlse;  // (stride,) as launch_upstream wrote them
};

// Stored: float, or int16_t as above. T: float, __nv_bfloat16 or __half.
template <typename Stored, typename T>
struct SlopesProblem {
  ClassChunk chunk;
  const Stored* cosines;  // (rows, stride)
  Upstream upstream;

  T* grad_cosine;         // (rows, stride): d loss / d cosine, times the gradient scale
  double* grad_partials;  // (tiles_of(rows, stride),): sums of grad_nlse p f(cos), which are the
                          // gradient of the scale times the gradient scale; or null: not computed
};

template <typename Stored, typename T>
void launch_slopes(const SlopesProblem<Stored, T>& problem, cudaStream_t stream);

// Raw rows at length 1, padded with zeros. In, Out: float, __nv_bfloat16 or __half.
template <typename In, typename Out>
struct UnitRowsProblem {
  int64_t rows, padded_rows;  // rows beyond the first are zeros
  int64_t depth;              // columns with padding
  MatrixView<In> raw;
  bool
      zero_non_finite;  // a row with NaN or infinity becomes 0; its inverse norm is NaN in any case
  bool tf32;            // float only: rounded to the 10 bits that a tensor core reads

  Out* unit;             // (padded_rows, depth)
  float* inverse_norms;  // (padded_rows,): 0 for a row shorter than kShortestNorm
};

template <typename In, typename Out>
void launch_unit_rows(const UnitRowsProblem<In, Out>& problem, cudaStream_t stream);

// The gradient of unit rows becomes that of the raw rows: without its radial component.
template <typename T>
struct RowGradientProblem {
  int64_t rows, depth;  // depth: columns of grad_unit, a multiple of kDepth
  MatrixView<T> raw;
  const float* inverse_norms;  // (rows,)
  const float* grad_unit;      // (rows, depth) gradient of the unit rows, times the gradient scale;
                               // aligned to 16 bytes
  const float* gradient_scale;  // one number
  const float* replacement;     // (rows,) as in UpstreamProblem, or null: all are 1

  T* grad_raw;  // (rows, columns)
};

template <typename T>
void launch_row_gradient(const RowGradientProblem<T>& problem, cudaStream_t stream);

// sum += product, both (elements,), a multiple of 4 and aligned to 16 bytes.
void launch_add(int64_t elements, const float* product, float* sum, cudaStream_t stream);

// grad_scale = the sum of the partials, divided by the gradient scale.
void launch_scale_gradient(int64_t count, const double* partials, const float* gradient_scale,
                           float* grad_scale, cudaStream_t stream);

}  // namespace fairloss::cuda
