// Kernels over tiles of kTileClasses classes by kTileSamples samples: a warp takes 16 of the
// classes, a lane 4 of the samples, so that every access of a warp is 256 or 512 adjacent bytes.
#include "cosine_partition.h"
#include "cosine_terms.cuh"
#include "fairloss/gradient_scale.h"
#include "unit_rows.cuh"

namespace fairloss::cuda {

constexpr int kWarps = kThreads / kWarp;
constexpr int kLaneSamples = kTileSamples / kWarp;  // of a lane, adjacent
constexpr int kWarpRows = kTileClasses / kWarps;    // of a warp
constexpr int kUnrolled = 8;                        // rows in registers at a time
// Bytes of saved cosines that a lane loads at a time. At 24 warps they are 24 KiB in flight a
// multiprocessor: an H100 needs 15 (3.35 TB/s times about 600 ns, over 132 of them).
constexpr int kSlopeBytes = 32;

using FourFloats = Pack<float, kLaneSamples>;

// The position of a thread in a tile of a chunk.
struct Position {
  int64_t tile_row, sample, row;  // the first of the lane's samples, and of the warp's rows

  __device__ Position(const ClassChunk& p, int64_t tile) {
    const int64_t columns = tiles_of(kTileClasses, p.stride);
    tile_row = tile / columns;
    sample = tile % columns * kTileSamples + lane_index() * kLaneSamples;
    row = tile_row * kTileClasses + int(threadIdx.x) / kWarp * kWarpRows;
  }
};

// The samples of a lane.
struct Samples {
  HardNegative<float> transform[kLaneSamples];
  int target[kLaneSamples];  // row of the chunk

  __device__ Samples(const ClassChunk& p, int64_t first) {
    for (int k = 0; k < kLaneSamples; ++k) {
      transform[k] = hard_negative_of(p, first + k);
      target[k] = target_row(p, first + k);
    }
  }
};

__global__ void __launch_bounds__(kThreads, 2) cosine_terms_kernel(const TermsProblem p) {
  FAIRLOSS_SHARED(float, peaks, [kWarps][kTileSamples]);
  FAIRLOSS_SHARED(float, sums, [kWarps][kTileSamples]);
  const ClassChunk& chunk = p.chunk;
  const float scale = *chunk.scale;
  const int warp = int(threadIdx.x) / kWarp;
  for (int64_t tile = blockIdx.x; tile < tiles_of(chunk.rows, chunk.stride); tile += gridDim.x) {
    const Position position(chunk, tile);
    if (position.sample < chunk.stride) {
      const Samples samples(chunk, position.sample);
      float peak[kLaneSamples], sum[kLaneSamples] = {};
      for (int k = 0; k < kLaneSamples; ++k) peak[k] = -INFINITY;
      for (int first = 0; first < kWarpRows; first += kUnrolled) {
        FourFloats cosines[kUnrolled];
#pragma unroll
        for (int r = 0; r < kUnrolled; ++r) {
          const int64_t row = position.row + first + r;
          cosines[r] = {};
          if (row < chunk.rows) {
            cosines[r] = load_pack<kLaneSamples>(p.cosines + row * chunk.stride + position.sample);
          }
        }
        float logits[kUnrolled][kLaneSamples], before[kLaneSamples];
        for (int k = 0; k < kLaneSamples; ++k) before[k] = peak[k];
#pragma unroll
        for (int r = 0; r < kUnrolled; ++r) {
          const int64_t row = position.row + first + r;
          const bool present = row < chunk.rows;
          const FourFloats cosine = cosines[r];
          Pack<int16_t, kLaneSamples> fixed;
#pragma unroll
          for (int k = 0; k < kLaneSamples; ++k) {
            const bool is_target = row == samples.target[k];
            if (is_target) p.target_cosine[position.sample + k] = cosine.lane[k];
            fixed.lane[k] = to_fixed(cosine.lane[k]);
            const float logit = scale * samples.transform[k].value(cosine.lane[k]);
            logits[r][k] = present && !is_target ? logit : -INFINITY;
            peak[k] = fmaxf(peak[k], logits[r][k]);  // drops a NaN, which the sum keeps
          }
          if (present && p.saved_cosines != nullptr) {
            store_pack(p.saved_cosines + row * chunk.stride + position.sample, fixed);
          }
        }
        for (int k = 0; k < kLaneSamples; ++k) sum[k] *= relative_exp(before[k], peak[k]);
#pragma unroll
        for (int r = 0; r < kUnrolled; ++r) {
#pragma unroll
          for (int k = 0; k < kLaneSamples; ++k) sum[k] += relative_exp(logits[r][k], peak[k]);
        }
      }
      for (int k = 0; k < kLaneSamples; ++k) {
        peaks[warp][lane_index() * kLaneSamples + k] = peak[k];
        sums[warp][lane_index() * kLaneSamples + k] = sum[k];
      }
    }
    __syncthreads();
    const int64_t sample = position.sample - lane_index() * kLaneSamples + int(threadIdx.x);
    if (int(threadIdx.x) < kTileSamples && sample < chunk.stride) {
      store_partial(peaks, sums, int(threadIdx.x), chunk.stride,
                    p.partials + position.tile_row * 2 * chunk.stride + sample);
    }
    __syncthreads();
  }
}

// Terms as a peak and their sum relative to it.
struct Terms {
  double peak, sum;
};

// Merges the partial sums [begin, end) of sample i, of which `partials` (count, 2, stride) has the
// peaks and the sums. A lane takes a sample, and the warps of the block share its partial sums. All
// threads must call it, and get the terms of their lane; no barrier is needed before a second call:
// `peaks` was read before the second barrier, and `sums` is written after the next one.
template <typename Number>
__device__ Terms merge_partials(const Number* partials, int64_t begin, int64_t end, int64_t stride,
                                int64_t i) {
  FAIRLOSS_SHARED(Number, peaks, [kWarps][kWarp]);
  FAIRLOSS_SHARED(double, sums, [kWarps][kWarp]);
  const int lane = lane_index(), warp = int(threadIdx.x) / kWarp;
  Number peak = -INFINITY;
#pragma unroll 8  // loads in flight
  for (int64_t g = begin + warp; g < end; g += kWarps) {
    const Number next = partials[g * 2 * stride + i];
    peak = next > peak ? next : peak;  // drops a NaN, which the sum keeps
  }
  peaks[warp][lane] = peak;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) peak = peaks[w][lane] > peak ? peaks[w][lane] : peak;
  double sum = 0;
#pragma unroll 8  // loads in flight
  for (int64_t g = begin + warp; g < end; g += kWarps) {
    const Number* next = partials + g * 2 * stride + i;
    sum += double(next[stride]) * double(relative_exp(next[0], peak));
  }
  sums[warp][lane] = sum;
  __syncthreads();
  sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += sums[w][lane];
  return {peak, sum};
}

// A block takes 32 samples and a part of their partial sums.
__global__ void __launch_bounds__(kThreads) merge_parts_kernel(const LogSumExpProblem p) {
  const int64_t columns = (p.stride + kWarp - 1) / kWarp,
                all = columns * logsumexp_parts(p.num_partials);
  for (int64_t work = blockIdx.x; work < all; work += gridDim.x) {
    const int64_t part = work / columns, i = work % columns * kWarp + lane_index();
    const int64_t begin = part * kPartPartials, left = p.num_partials - begin;
    const int64_t count = left < kPartPartials ? left : kPartPartials;
    const Terms terms =
        merge_partials(p.partials, begin, begin + (i < p.stride ? count : 0), p.stride, i);
    if (int(threadIdx.x) >= kWarp || i >= p.stride) continue;
    p.parts[part * 2 * p.stride + i] = terms.peak;
    p.parts[(part * 2 + 1) * p.stride + i] = terms.sum;
  }
}

// A block takes 32 samples.
__global__ void __launch_bounds__(kThreads) logsumexp_kernel(const LogSumExpProblem p) {
  const int64_t parts = logsumexp_parts(p.num_partials);
  for (int64_t first = int64_t(blockIdx.x) * kWarp; first < p.batch;
       first += int64_t(gridDim.x) * kWarp) {
    const int64_t i = first + lane_index();
    const Terms terms = merge_partials(p.parts, 0, i < p.batch ? parts : 0, p.stride, i);
    if (int(threadIdx.x) >= kWarp || i >= p.batch) continue;
    const int64_t label = p.labels[i];
    const bool non_finite = std::isnan(p.inverse_norms[i]);
    const bool invalid = label < -1 || label >= p.classes;
    const float nlse = float(log_sum_exp(terms.peak, terms.sum));
    p.negative_logsumexp[i] = invalid || (non_finite && nlse != -INFINITY) ? NAN : nlse;
    if (label == -1) p.target_cosine[i] = 0;
    if (invalid || (non_finite && label >= 0)) p.target_cosine[i] = NAN;
  }
}

constexpr int kSumThreads = 1024;  // of kernels that have one block

__device__ inline float number_or_zero(const float* numbers, int64_t i) {
  return numbers == nullptr ? 0 : numbers[i];
}

// One block: the gradient scale depends on all samples.
__global__ void __launch_bounds__(kSumThreads) upstream_kernel(const UpstreamProblem p) {
  FAIRLOSS_SHARED(float, largest_of, [kWarp]);
  const float grad_cosine = *p.scale * max_slope(p.hard_coefficients);  // at most, of grad_nlse = 1
  float largest = 0;
  for (int64_t i = threadIdx.x; i < p.stride; i += blockDim.x) {
    float grad_target_cosine = 0, grad_nlse = 0, nlse = INFINITY, replacement = 1;
    if (i < p.batch) {
      const float to_target = number_or_zero(p.grad_target_cosine, i);
      const float to_nlse = number_or_zero(p.grad_negative_logsumexp, i);
      if (std::isnan(p.target_cosine[i]) || !(p.negative_logsumexp[i] < INFINITY)) {
        replacement = to_target == 0 && to_nlse == 0 ? 0 : NAN;
      } else {
        grad_target_cosine = to_target;
        if (p.negative_logsumexp[i] != -INFINITY) {
          grad_nlse = to_nlse;
          nlse = p.negative_logsumexp[i];
        }
      }
    }
    p.scaled_grad_target_cosine[i] = grad_target_cosine;
    p.scaled_grad_nlse[i] = grad_nlse;
    p.nlse[i] = nlse;
    p.replacement[i] = replacement;
    largest = fmaxf(largest, fmaxf(fabsf(grad_target_cosine), fabsf(grad_nlse * grad_cosine)));
  }
  if (!p.float16) {
    if (threadIdx.x == 0) *p.gradient_scale = 1;
    return;
  }
  largest = warp_max(largest);
  if (lane_index() == 0) largest_of[threadIdx.x / kWarp] = largest;
  __syncthreads();
  const float factor = float16_gradient_scale(warp_max(largest_of[lane_index()]));
  for (int64_t i = threadIdx.x; i < p.stride; i += blockDim.x) {
    p.scaled_grad_target_cosine[i] *= factor;
    p.scaled_grad_nlse[i] *= factor;
  }
  if (threadIdx.x == 0) *p.gradient_scale = factor;
}

template <typename Stored, typename T>
__global__ void __launch_bounds__(kThreads, 3) slopes_kernel(const SlopesProblem<Stored, T> p) {
  constexpr int kRows = kSlopeBytes / sizeof(Pack<Stored, kLaneSamples>);
  const ClassChunk& chunk = p.chunk;
  const float scale = *chunk.scale;
  for (int64_t tile = blockIdx.x; tile < tiles_of(chunk.rows, chunk.stride); tile += gridDim.x) {
    const Position position(chunk, tile);
    float grad_scale = 0;
    if (position.sample < chunk.stride) {
      const Samples samples(chunk, position.sample);
      const FourFloats grad_target =
          load_pack<kLaneSamples>(p.upstream.grad_target_cosine + position.sample);
      const FourFloats grad_nlse = load_pack<kLaneSamples>(p.upstream.grad_nlse + position.sample);
      const FourFloats nlse = load_pack<kLaneSamples>(p.upstream.nlse + position.sample);
      for (int first = 0; first < kWarpRows; first += kRows) {
        Pack<Stored, kLaneSamples> cosines[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const int row = int(position.row) + first + r;
          if (row < chunk.rows) {
            cosines[r] =
                load_pack<kLaneSamples>(p.cosines + int64_t(row) * chunk.stride + position.sample);
          }
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const int row = int(position.row) + first + r;
          if (row >= chunk.rows) continue;
          Pack<T, kLaneSamples> grad_cosine;
#pragma unroll
          for (int k = 0; k < kLaneSamples; ++k) {
            const bool is_target = row == samples.target[k];
            const NegativeGradient negative =
                negative_gradient(stored_cosine(cosines[r].lane[k]), samples.transform[k], scale,
                                  nlse.lane[k], grad_nlse.lane[k]);
            grad_cosine.lane[k] = from_float<T>(is_target ? grad_target.lane[k] : negative.cosine);
            if (!is_target) grad_scale += negative.scale;
          }
          store_pack(p.grad_cosine + int64_t(row) * chunk.stride + position.sample, grad_cosine);
        }
      }
    }
    if (p.grad_partials == nullptr) continue;
    const double sum = block_sum(double(grad_scale));
    if (threadIdx.x == 0) p.grad_partials[tile] = sum;
    __syncthreads();
  }
}

__global__ void add_kernel(int64_t elements, const float* product, float* sum) {
  constexpr int kLanes = Vector<float>::kLanes;
  for (int64_t element = thread_index() * kLanes; element < elements;
       element += thread_count() * kLanes) {
    const Vector<float> more = load_vector(product + element);
    Vector<float> total = load_vector(sum + element);
    for (int l = 0; l < kLanes; ++l) total.lane[l] += more.lane[l];
    store_pack(sum + element, total);
  }
}

__global__ void scale_gradient_kernel(int64_t count, const double* partials,
                                      const float* gradient_scale, float* grad_scale) {
  double sum = 0;
#pragma unroll 8  // loads in flight
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads) sum += partials[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *grad_scale = float(sum / double(*gradient_scale));
}

void launch_cosine_terms(const TermsProblem& p, cudaStream_t stream) {
  const int64_t blocks = blocks_for(tiles_of(p.chunk.rows, p.chunk.stride), 1);
  launch(cosine_terms_kernel, {blocks, kThreads, 0, stream}, p);
}

void launch_logsumexp(const LogSumExpProblem& p, cudaStream_t stream) {
  const int64_t columns = (p.stride + kWarp - 1) / kWarp;
  const int64_t blocks = blocks_for(columns * logsumexp_parts(p.num_partials), 1);
  launch(merge_parts_kernel, {blocks, kThreads, 0, stream}, p);
  launch(logsumexp_kernel, {blocks_for(p.batch, kWarp), kThreads, 0, stream}, p);
}

void launch_upstream(const UpstreamProblem& p, cudaStream_t stream) {
  launch(upstream_kernel, {1, kSumThreads, 0, stream}, p);
}

template <typename Stored, typename T>
void launch_slopes(const SlopesProblem<Stored, T>& p, cudaStream_t stream) {
  const int64_t blocks = blocks_for(tiles_of(p.chunk.rows, p.chunk.stride), 1);
  launch(slopes_kernel<Stored, T>, {blocks, kThreads, 0, stream}, p);
}

template <typename In, typename Out>
void launch_unit_rows(const UnitRowsProblem<In, Out>& p, cudaStream_t stream) {
  const int64_t blocks = blocks_for(p.padded_rows, kThreads / kWarp);
  launch(unit_rows_kernel<In, Out>, {blocks, kThreads, 0, stream}, p, is_aligned(p.raw));
}

template <typename T>
void launch_row_gradient(const RowGradientProblem<T>& p, cudaStream_t stream) {
  constexpr int kLanes = Vector<T>::kLanes;
  const bool vectors = is_aligned(p.raw) && is_aligned(p.grad_raw) && p.raw.columns % kLanes == 0;
  launch(row_gradient_kernel<T>, {blocks_for(p.rows, kThreads / kWarp), kThreads, 0, stream}, p,
         vectors);
}

void launch_add(int64_t elements, const float* product, float* sum, cudaStream_t stream) {
  const int64_t blocks = blocks_for(elements, kThreads * Vector<float>::kLanes);
  launch(add_kernel, {blocks, kThreads, 0, stream}, elements, product, sum);
}

void launch_scale_gradient(int64_t count, const double* partials, const float* gradient_scale,
                           float* grad_scale, cudaStream_t stream) {
  launch(scale_gradient_kernel, {1, kSumThreads, 0, stream}, count, partials, gradient_scale,
         grad_scale);
}

template void launch_slopes(const SlopesProblem<float, float>&, cudaStream_t);
template void launch_slopes(const SlopesProblem<float, __nv_bfloat16>&, cudaStream_t);
template void launch_slopes(const SlopesProblem<float, __half>&, cudaStream_t);
template void launch_slopes(const SlopesProblem<int16_t, __nv_bfloat16>&, cudaStream_t);
template void launch_slopes(const SlopesProblem<int16_t, __half>&, cudaStream_t);

#define FAIRLOSS_FOR_OPERAND(In, Out) \
  template void launch_unit_rows(const UnitRowsProblem<In, Out>&, cudaStream_t)
#define FAIRLOSS_FOR_RAW(T)               \
  FAIRLOSS_FOR_OPERAND(T, float);         \
  FAIRLOSS_FOR_OPERAND(T, __nv_bfloat16); \
  FAIRLOSS_FOR_OPERAND(T, __half);        \
  template void launch_row_gradient(const RowGradientProblem<T>&, cudaStream_t)
FAIRLOSS_FOR_RAW(float);
FAIRLOSS_FOR_RAW(__nv_bfloat16);
FAIRLOSS_FOR_RAW(__half);

}  // namespace fairloss::cuda
