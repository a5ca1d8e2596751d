// The kernels of cosine_partition between its products. Classes come in chunks: a product makes
// the cosines of a chunk with the whole batch, class-major, and a kernel here takes them in one
// pass. csrc/ops/cosine_chunks.h puts the pieces together.
#pragma once

#include <cstdint>

#include "fairloss/inline.h"
#include "rows.h"
#include "stream.h"

namespace fairloss::cuda {

// Classes whose terms make one partial sum. A tile of cosine_fused.cu is as high.
constexpr int64_t kGroup = 128;
// Samples side by side in a tile.
constexpr int64_t kSamples = 128;
// Operands are padded with zeros to whole steps of a tensor core: 32 columns hold two of 16 bits,
// four of TF32; 16 samples are a vector of 16 bytes in every precision.
constexpr int64_t kDepth = 32, kSampleStep = 16;

FAIRLOSS_INLINE int64_t groups_of(int64_t classes) { return round_up(classes, kGroup) / kGroup; }
FAIRLOSS_INLINE int64_t tiles_of(int64_t classes, int64_t stride) {
  return groups_of(classes) * (round_up(stride, kSamples) / kSamples);
}

// The classes [first, first + rows) against the whole batch. All pointers are the device's.
struct ClassChunk {
  int64_t batch, stride;           // stride: samples with padding, a multiple of kSampleStep
  int64_t first, rows;             // of the chunk
  const int64_t* labels;           // (B,), -1: no class is excluded
  const float* scale;              // one number
  const float* hard_threshold;     // (B,) or null: a non-target cosine c above it becomes
  const float* hard_coefficients;  // (3,)  [0] c^2 + [1] c + [2]
};

// Cosines kept for the backward pass: float, or where products are of 16 bits int16_t, in steps of
// 1 / 32767. Such a step is 2^-16 from the truth at most, which at a scale of 64 is 0.1% of a
// probability; a bfloat16 of the exponential, as large, would be 0.2% off.
struct TermsProblem {
  ClassChunk chunk;
  const float* cosines;  // (rows, stride)
  int16_t* kept;         // (rows, stride), or null: the cosines stay as they are, or are not kept

  float* target_cosine;  // (B,), written where the target is in the chunk
  float* partials;       // (groups_of(rows), 2, stride): greatest logit, sum relative to it
};

// A pass over the cosines of a chunk: partial sums of exp(scale f(cos)) without the targets.
void launch_cosine_terms(const TermsProblem& problem, cudaStream_t stream);

struct LogSumExpProblem {
  int64_t batch, stride, classes, groups;
  const float* partials;       // (groups, 2, stride) of all chunks
  const int64_t* labels;       // (B,); out of range: NaN for the sample
  const float* inverse_norms;  // (B,) of the embeddings, NaN: spoilt

  float* target_cosine;       // (B,), completed: 0 at label -1, NaN for what is spoilt
  float* negative_logsumexp;  // (B,)
};

void launch_logsumexp(const LogSumExpProblem& problem, cudaStream_t stream);

// What slopes need of every sample; one launch for the whole backward pass.
struct UpstreamProblem {
  int64_t batch, stride;
  const float* grad_target_cosine;       // (B,)
  const float* grad_negative_logsumexp;  // (B,)
  const float* target_cosine;            // (B,)
  const float* negative_logsumexp;       // (B,)
  const float* scale;                    // one number
  const float* hard_coefficients;        // (3,) or null, as in ClassChunk
  bool fit_into_float16;  // multiplies by a power of 2 that brings the largest slope near 2^14

  float* pull;   // (stride,) gradient of the target cosine, 0 for a spoilt sample
  float* push;   // (stride,) gradient of nlse, likewise
  float* nlse;   // (stride,) +inf where push is 0 by definition
  float* own;    // (stride,) 1, or for a spoilt sample its whole gradient: NaN, 0 without upstream
  float* boost;  // one number, that power of 2
};

void launch_upstream(const UpstreamProblem& problem, cudaStream_t stream);

struct Upstream {
  const float *pull, *push, *nlse;  // (stride,)
};

// Stored: float, or int16_t as above. T: float, __nv_bfloat16 or __half.
template <typename Stored, typename T>
struct SlopesProblem {
  ClassChunk chunk;
  const Stored* cosines;  // (rows, stride)
  Upstream upstream;

  T* slopes;               // (rows, stride): d loss / d cosine, times the boost
  double* scale_partials;  // (tiles_of(rows, stride),): sums of push p f(cos)
};

template <typename Stored, typename T>
void launch_slopes(const SlopesProblem<Stored, T>& problem, cudaStream_t stream);

// Raw rows at length 1, padded with zeros. In, Out: float, __nv_bfloat16 or __half.
template <typename In, typename Out>
struct UnitRowsProblem {
  int64_t rows, padded_rows;  // rows beyond the first are zeros
  int64_t depth;              // columns with padding
  Rows<In> raw;
  bool zero_spoilt;  // a row with NaN or infinity becomes 0; its inverse norm is NaN anyway
  bool tf32;         // float only: rounded to the 10 bits that a tensor core reads

  Out* unit;             // (padded_rows, depth)
  float* inverse_norms;  // (padded_rows,): 0 for a row shorter than 1e-12
};

template <typename In, typename Out>
void launch_unit_rows(const UnitRowsProblem<In, Out>& problem, cudaStream_t stream);

// The gradient of unit rows becomes that of the raw ones: what lies along the row leaves.
template <typename T>
struct RowGradientProblem {
  int64_t rows, depth;  // depth: columns of `across`
  Rows<T> raw;
  const float* inverse_norms;  // (rows,)
  const float* across;         // (rows, depth) gradient of the unit rows, times the boost
  const float* boost;          // one number
  const float* own;            // (rows,) as in UpstreamProblem, or null: all are 1

  T* gradient;  // (rows, columns)
};

template <typename T>
void launch_row_gradient(const RowGradientProblem<T>& problem, cudaStream_t stream);

// sum += product, both (elements,), a multiple of 4 and aligned to 16 bytes.
void launch_add(int64_t elements, const float* product, float* sum, cudaStream_t stream);

// grad_scale = sum of the partials, without the boost.
void launch_scale_gradient(int64_t count, const double* partials, const float* boost,
                           float* grad_scale, cudaStream_t stream);

}  // namespace fairloss::cuda
