// Tiles of kGroup classes by kSamples samples: a warp takes 16 of the classes, a lane 4 of the
// samples, so that every access of a warp is 256 or 512 bytes side by side.
#include "cosine_partition.h"
#include "cosine_terms.cuh"
#include "unit_rows.cuh"

namespace fairloss::cuda {

constexpr int kWarps = kThreads / kWarp;
constexpr int kLaneSamples = kSamples / kWarp;  // of a lane, side by side
constexpr int kWarpRows = kGroup / kWarps;      // of a warp
constexpr int kUnrolled = 8;                    // rows in registers at a time

using FourFloats = Pack<float, kLaneSamples>;

// A tile of a chunk, as one thread sees it.
struct Place {
  int64_t group, sample, row;  // the first of the lane's samples, and of the warp's rows

  __device__ Place(const ClassChunk& p, int64_t tile) {
    const int64_t columns = tiles_of(kGroup, p.stride);
    group = tile / columns;
    sample = tile % columns * kSamples + lane_index() * kLaneSamples;
    row = group * kGroup + int(threadIdx.x) / kWarp * kWarpRows;
  }
};

// What a lane knows of its samples.
struct Samples {
  Curve curve[kLaneSamples];
  int target[kLaneSamples];  // row of the chunk

  __device__ Samples(const ClassChunk& p, int64_t first) {
    for (int k = 0; k < kLaneSamples; ++k) {
      curve[k] = curve_of(p, first + k);
      target[k] = target_row(p, first + k);
    }
  }
};

__global__ void __launch_bounds__(kThreads, 2) cosine_terms_kernel(const TermsProblem p) {
  FAIRLOSS_SHARED(float, peaks, [kWarps][kSamples]);
  FAIRLOSS_SHARED(float, sums, [kWarps][kSamples]);
  const ClassChunk& chunk = p.chunk;
  const float scale = *chunk.scale;
  const int warp = int(threadIdx.x) / kWarp;
  for (int64_t tile = blockIdx.x; tile < tiles_of(chunk.rows, chunk.stride); tile += gridDim.x) {
    const Place at(chunk, tile);
    if (at.sample < chunk.stride) {
      const Samples samples(chunk, at.sample);
      float peak[kLaneSamples], sum[kLaneSamples] = {};
      for (int k = 0; k < kLaneSamples; ++k) peak[k] = -INFINITY;
      for (int first = 0; first < kWarpRows; first += kUnrolled) {
        float logits[kUnrolled][kLaneSamples], before[kLaneSamples];
        for (int k = 0; k < kLaneSamples; ++k) before[k] = peak[k];
#pragma unroll
        for (int r = 0; r < kUnrolled; ++r) {
          const int64_t row = at.row + first + r;
          const bool present = row < chunk.rows;
          const int64_t start = row * chunk.stride + at.sample;
          FourFloats cosine{};
          if (present) cosine = load_pack<kLaneSamples>(p.cosines + start);
          Pack<int16_t, kLaneSamples> fixed;
#pragma unroll
          for (int k = 0; k < kLaneSamples; ++k) {
            const bool is_target = row == samples.target[k];
            if (is_target) p.target_cosine[at.sample + k] = cosine.lane[k];
            fixed.lane[k] = to_fixed(cosine.lane[k]);
            const float logit = scale * samples.curve[k].value(cosine.lane[k]);
            logits[r][k] = present && !is_target ? logit : -INFINITY;
            peak[k] = fmaxf(peak[k], logits[r][k]);  // a NaN drops out here, but never of the sum
          }
          if (present && p.kept != nullptr) store_pack(p.kept + start, fixed);
        }
        for (int k = 0; k < kLaneSamples; ++k) sum[k] *= relative(before[k], peak[k]);
#pragma unroll
        for (int r = 0; r < kUnrolled; ++r) {
#pragma unroll
          for (int k = 0; k < kLaneSamples; ++k) sum[k] += relative(logits[r][k], peak[k]);
        }
      }
      for (int k = 0; k < kLaneSamples; ++k) {
        peaks[warp][lane_index() * kLaneSamples + k] = peak[k];
        sums[warp][lane_index() * kLaneSamples + k] = sum[k];
      }
    }
    __syncthreads();
    const int64_t sample = at.sample - lane_index() * kLaneSamples + int(threadIdx.x);
    if (int(threadIdx.x) < kSamples && sample < chunk.stride) {
      store_partial(peaks, sums, int(threadIdx.x), chunk.stride,
                    p.partials + at.group * 2 * chunk.stride + sample);
    }
    __syncthreads();
  }
}

// A lane takes a sample, the warps of the block share its groups.
constexpr int kSumThreads = 1024;

__global__ void __launch_bounds__(kSumThreads) logsumexp_kernel(const LogSumExpProblem p) {
  FAIRLOSS_SHARED(float, peaks, [kWarp][kWarp]);
  FAIRLOSS_SHARED(double, sums, [kWarp][kWarp]);
  const int lane = lane_index(), warp = int(threadIdx.x) / kWarp, warps = int(blockDim.x) / kWarp;
  for (int64_t first = int64_t(blockIdx.x) * kWarp; first < p.batch;
       first += int64_t(gridDim.x) * kWarp) {
    const int64_t i = first + lane;  // below the stride, which is padded less than a warp
    const float* partial = p.partials + i;
    const bool present = i < p.stride;
    float peak = -INFINITY;
    for (int64_t g = warp; present && g < p.groups; g += warps) {
      peak = fmaxf(peak, partial[g * 2 * p.stride]);
    }
    peaks[warp][lane] = peak;
    __syncthreads();
    for (int w = 0; w < warps; ++w) peak = fmaxf(peak, peaks[w][lane]);
    double sum = 0;
    for (int64_t g = warp; present && g < p.groups; g += warps) {
      const float* of = partial + g * 2 * p.stride;
      sum += double(of[p.stride]) * double(relative(of[0], peak));
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && i < p.batch) {
      sum = 0;
      for (int w = 0; w < warps; ++w) sum += sums[w][lane];
      const int64_t label = p.labels[i];
      const bool spoilt = std::isnan(p.inverse_norms[i]),
                 outside = label < -1 || label >= p.classes;
      const float nlse =
          float((sum == 0 ? 0 : double(peak)) + log(sum));  // log 0 without negatives
      p.negative_logsumexp[i] = outside || (spoilt && nlse != -INFINITY) ? NAN : nlse;
      if (label == -1) p.target_cosine[i] = 0;
      if (outside || (spoilt && label >= 0)) p.target_cosine[i] = NAN;
    }
    // No barrier here: peaks were read before the second one, sums are written after the next.
  }
}

// One block: the boost depends on all samples.
__global__ void __launch_bounds__(kSumThreads) upstream_kernel(const UpstreamProblem p) {
  FAIRLOSS_SHARED(float, largest_of, [kWarp]);
  const float steepness = *p.scale * steepest(p.hard_coefficients);
  float largest = 0;
  for (int64_t i = threadIdx.x; i < p.stride; i += blockDim.x) {
    float pull = 0, push = 0, nlse = INFINITY, own = 1;
    if (i < p.batch) {
      const float to_target = p.grad_target_cosine[i], to_nlse = p.grad_negative_logsumexp[i];
      const bool spoilt = std::isnan(p.target_cosine[i]) || !(p.negative_logsumexp[i] < INFINITY);
      if (spoilt) {
        own = to_target == 0 && to_nlse == 0 ? 0 : NAN;
      } else {
        pull = to_target;
        if (p.negative_logsumexp[i] != -INFINITY) {
          push = to_nlse;
          nlse = p.negative_logsumexp[i];
        }
      }
    }
    p.pull[i] = pull;
    p.push[i] = push;
    p.nlse[i] = nlse;
    p.own[i] = own;
    largest = fmaxf(largest, fmaxf(fabsf(pull), fabsf(push * steepness)));
  }
  if (!p.fit_into_float16) {
    if (threadIdx.x == 0) *p.boost = 1;
    return;
  }
  largest = warp_max(largest);
  if (lane_index() == 0) largest_of[threadIdx.x / kWarp] = largest;
  __syncthreads();
  largest = warp_max(largest_of[lane_index()]);
  // float16 ends at 2^-24: all above 2^-38 of the largest slope count. At most 2^100: what needs
  // more is too small to matter, and 2^128 is infinite.
  float boost = 1;
  if (largest > 0 && largest < INFINITY) {
    boost = ldexpf(1, int(fminf(100, 14 - floorf(log2f(largest)))));
  }
  for (int64_t i = threadIdx.x; i < p.stride; i += blockDim.x) {
    p.pull[i] *= boost;
    p.push[i] *= boost;
  }
  if (threadIdx.x == 0) *p.boost = boost;
}

template <typename Stored, typename T>
__global__ void __launch_bounds__(kThreads) slopes_kernel(const SlopesProblem<Stored, T> p) {
  const ClassChunk& chunk = p.chunk;
  const float scale = *chunk.scale;
  for (int64_t tile = blockIdx.x; tile < tiles_of(chunk.rows, chunk.stride); tile += gridDim.x) {
    const Place at(chunk, tile);
    float along = 0;
    if (at.sample < chunk.stride) {
      const Samples samples(chunk, at.sample);
      const FourFloats pull = load_pack<kLaneSamples>(p.upstream.pull + at.sample);
      const FourFloats push = load_pack<kLaneSamples>(p.upstream.push + at.sample);
      const FourFloats nlse = load_pack<kLaneSamples>(p.upstream.nlse + at.sample);
      for (int64_t row = at.row; row < at.row + kWarpRows && row < chunk.rows; ++row) {
        const int64_t start = row * chunk.stride + at.sample;
        const auto cosine = load_pack<kLaneSamples>(p.cosines + start);
        Pack<T, kLaneSamples> slopes;
#pragma unroll
        for (int k = 0; k < kLaneSamples; ++k) {
          const bool is_target = row == samples.target[k];
          const NegativeSlope negative = negative_slope(
              stored_cosine(cosine.lane[k]), samples.curve[k], scale, nlse.lane[k], push.lane[k]);
          slopes.lane[k] = from_float<T>(is_target ? pull.lane[k] : negative.slope);
          if (!is_target) along += negative.along;
        }
        store_pack(p.slopes + start, slopes);
      }
    }
    const double sum = block_sum(double(along));
    if (threadIdx.x == 0) p.scale_partials[tile] = sum;
    __syncthreads();
  }
}

__global__ void add_kernel(int64_t elements, const float* product, float* sum) {
  constexpr int kLanes = Vector<float>::kLanes;
  for (int64_t at = thread_index() * kLanes; at < elements; at += thread_count() * kLanes) {
    const Vector<float> more = load_vector(product + at);
    Vector<float> total = load_vector(sum + at);
    for (int l = 0; l < kLanes; ++l) total.lane[l] += more.lane[l];
    store_vector(sum + at, total);
  }
}

__global__ void scale_gradient_kernel(int64_t count, const double* partials, const float* boost,
                                      float* grad_scale) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *grad_scale = float(sum / double(*boost));
}

void launch_cosine_terms(const TermsProblem& p, cudaStream_t stream) {
  const int64_t blocks = blocks_for(tiles_of(p.chunk.rows, p.chunk.stride), 1);
  launch(cosine_terms_kernel, {blocks, kThreads, 0, stream}, p);
}

void launch_logsumexp(const LogSumExpProblem& p, cudaStream_t stream) {
  launch(logsumexp_kernel, {blocks_for(p.batch, kWarp), kSumThreads, 0, stream}, p);
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
  const bool vectors = is_aligned(p.raw) && is_aligned(p.gradient) && p.raw.columns % kLanes == 0;
  launch(row_gradient_kernel<T>, {blocks_for(p.rows, kThreads / kWarp), kThreads, 0, stream}, p,
         vectors);
}

void launch_add(int64_t elements, const float* product, float* sum, cudaStream_t stream) {
  const int64_t blocks = blocks_for(elements, kThreads * Vector<float>::kLanes);
  launch(add_kernel, {blocks, kThreads, 0, stream}, elements, product, sum);
}

void launch_scale_gradient(int64_t count, const double* partials, const float* boost,
                           float* grad_scale, cudaStream_t stream) {
  launch(scale_gradient_kernel, {1, kSumThreads, 0, stream}, count, partials, boost, grad_scale);
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
