#include "cosine_fused.h"
#include "cosine_terms.cuh"
#include "mma_tile.cuh"
#include "reduce.cuh"
#include "vector.cuh"

namespace fairloss::cuda {

static_assert(kGroup == kTile && kSamples == kTile, "a tile is a group of classes");

// 8 more than the columns of a tile, so that the 8 rows that a warp writes lie in other banks.
constexpr unsigned kPitch = kTile + 8;

// Where a tile lies. Samples run fastest: blocks that run at the same time read the same weights,
// all but once from L2.
struct TilePosition {
  int64_t index, first_class, first_sample;
  unsigned classes;  // present
};

__device__ inline unsigned in_tile(int64_t left) {
  return left < int64_t(kTile) ? unsigned(left) : kTile;
}

__device__ inline TilePosition position_of(const ClassChunk& p, int64_t across, int64_t index) {
  const int64_t group = index / across;
  const int64_t first_class = group * kGroup, first_sample = (index - group * across) * kSamples;
  return {index, first_class, first_sample, in_tile(p.rows - first_class)};
}

// What a column of a tile has of its own.
struct Sample {
  float threshold;
  unsigned target;         // its row in the tile, or one of those below
  float pull, push, nlse;  // for slopes only
};
constexpr unsigned kElsewhere = ~0u, kPadding = ~1u;

__device__ inline Sample sample_of(const ClassChunk& p, const TilePosition& at, int64_t i) {
  if (i >= p.batch) return {curve_of(p, i).threshold, kPadding, 0, 0, 0};
  const int64_t target = target_row(p, i) - at.first_class;
  const bool inside = target >= 0 && target < at.classes;
  return {curve_of(p, i).threshold, inside ? unsigned(target) : kElsewhere, 0, 0, 0};
}

template <typename T>
__device__ Sample sample_of(const FusedTermsProblem<T>& p, const TilePosition& at, int64_t i) {
  return sample_of(p.chunk, at, i);
}

template <typename T>
__device__ Sample sample_of(const FusedSlopesProblem<T>& p, const TilePosition& at, int64_t i) {
  Sample sample = sample_of(p.chunk, at, i);
  if (i >= p.chunk.batch) return sample;
  sample.pull = p.upstream.pull[i];
  sample.push = p.upstream.push[i];
  sample.nlse = p.upstream.nlse[i];
  return sample;
}

// In shared memory while products take all registers.
struct Tile {
  TilePosition at;
  Curve curve;  // but for the threshold
  Sample samples[kTile];
};

// A thread's rows of a column as bits: row + 8 k is bit k.
constexpr unsigned kRows = 2 * kDown;

// Those with the sample's target; of padding all, so that nothing comes of them.
__device__ inline unsigned targets_of(const Sample& sample, unsigned row) {
  const unsigned below = sample.target - row;
  const unsigned one = below < kWarpRows && below % 8 == 0 ? 1u << below / 8 : 0;
  return sample.target == kPadding ? ~0u : one;
}

__device__ inline unsigned absent_rows(const TilePosition& at, unsigned row) {
  return row < at.classes ? ~0u << (at.classes - row + 7) / 8 : ~0u;
}

__device__ inline bool has(unsigned bits, unsigned k) { return (bits >> k & 1) != 0; }

// The tile's rows to a matrix (rows, stride), 16 bytes a thread.
template <typename T>
__device__ void store_tile(const TilePosition& at, int64_t stride, unsigned thread, const T* staged,
                           T* matrix) {
  constexpr unsigned kLanes = Vector<T>::kLanes, kVectors = kTile / kLanes;
  for (unsigned v = thread; v < at.classes * kVectors; v += kThreads) {
    const unsigned row = v / kVectors, column = v % kVectors * kLanes;
    if (at.first_sample + column >= stride) continue;
    store_vector(matrix + (at.first_class + row) * stride + at.first_sample + column,
                 load_vector(staged + row * kPitch + column));
  }
}

// Over the lanes that hold the same columns.
template <typename Combine>
__device__ float over_rows(float value, Combine combine) {
  for (int distance = 4; distance < kWarp; distance *= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// What terms are relative to: a column without any has the peak of -inf.
__device__ inline float shift_of(float peak) { return peak == -INFINITY ? 0 : peak; }

__device__ inline float keep(float, float cosine) { return cosine; }
__device__ inline int16_t keep(int16_t, float cosine) { return to_fixed(cosine); }
__device__ inline float value_of(float kept) { return kept; }
__device__ inline float value_of(int16_t kept) { return from_fixed(kept); }

// Products become what is kept of them and partial sums.
template <typename T>
__device__ void finish_tile(const FusedTermsProblem<T>& p, const Tile& tile, void* shared,
                            Products& products) {
  using Kept = typename KeptBy<T>::Type;
  FAIRLOSS_SHARED(float, peaks, [kWarpsDown][kTile]);
  FAIRLOSS_SHARED(float, sums, [kWarpsDown][kTile]);
  Kept* const staged = static_cast<Kept*>(shared);
  const TilePosition at = tile.at;
  const unsigned thread = thread_again();
  const Corner corner = products_of(thread);
  const unsigned absent = absent_rows(at, corner.row);
  const float scale = *p.chunk.scale;
  Curve curve = tile.curve;
#pragma unroll
  for (int n = 0; n < kAcross; ++n) {
    const unsigned first = corner.column + 8 * n;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Sample sample = tile.samples[first + j];
      curve.threshold = sample.threshold;
      const unsigned targets = targets_of(sample, corner.row), excluded = targets | absent;
      if (sample.target == kPadding) {
#pragma unroll
        for (unsigned k = 0; k < kRows; ++k) products.of(k, n, j) = 0;
      } else if (targets != 0) {
#pragma unroll
        for (unsigned k = 0; k < kRows; ++k) {
          if (has(targets, k)) p.target_cosine[at.first_sample + first + j] = products.of(k, n, j);
        }
      }
      float peak = -INFINITY, sum = 0;
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) {
        float& product = products.of(k, n, j);
        const Kept kept = keep(Kept(), product);
        staged[(corner.row + 8 * k) * kPitch + first + j] = kept;
        product = has(excluded, k) ? -INFINITY : scale * curve.value(value_of(kept));
        peak = fmaxf(peak, product);
      }
      peak = over_rows(peak, [](float x, float y) { return fmaxf(x, y); });
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) {
        sum += __expf(products.of(k, n, j) - shift_of(peak));
      }
      sum = over_rows(sum, [](float x, float y) { return x + y; });
      if (thread % kWarp < 4) {
        peaks[corner.row / kWarpRows][first + j] = peak;
        sums[corner.row / kWarpRows][first + j] = sum;
      }
    }
  }
  __syncthreads();
  if (p.kept != nullptr) store_tile(at, p.chunk.stride, thread, staged, p.kept);
  const int64_t i = at.first_sample + thread;
  if (thread >= kTile || i >= p.chunk.stride) return;
  float peak = -INFINITY, sum = 0;
  for (int w = 0; w < kWarpsDown; ++w) peak = fmaxf(peak, peaks[w][thread]);
  for (int w = 0; w < kWarpsDown; ++w) {
    sum += sums[w][thread] * __expf(peaks[w][thread] - shift_of(peak));
  }
  float* partials = p.partials + at.first_class / kGroup * 2 * p.chunk.stride;
  partials[i] = peak;
  partials[p.chunk.stride + i] = sum;
}

// Products become slopes and a part of the scale's gradient.
template <typename T>
__device__ void finish_tile(const FusedSlopesProblem<T>& p, const Tile& tile, void* shared,
                            Products& products) {
  using Kept = typename KeptBy<T>::Type;
  T* const staged = static_cast<T*>(shared);
  const TilePosition at = tile.at;
  const unsigned thread = thread_again();
  const Corner corner = products_of(thread);
  const unsigned absent = absent_rows(at, corner.row);
  const float scale = *p.chunk.scale;
  Curve curve = tile.curve;
  float along = 0;  // of 64 products; float's rounding is smaller than theirs
#pragma unroll
  for (int n = 0; n < kAcross; ++n) {
    const unsigned first = corner.column + 8 * n;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Sample sample = tile.samples[first + j];
      curve.threshold = sample.threshold;
      const unsigned targets = targets_of(sample, corner.row), excluded = targets | absent;
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) {
        const float cosine = value_of(keep(Kept(), products.of(k, n, j)));
        const NegativeSlope negative =
            negative_slope(cosine, curve, scale, sample.nlse, sample.push);
        if (!has(excluded, k)) along += negative.along;
        staged[(corner.row + 8 * k) * kPitch + first + j] =
            T(has(targets, k) ? sample.pull : negative.slope);
      }
    }
  }
  __syncthreads();
  store_tile(at, p.chunk.stride, thread, staged, p.slopes);
  const double sum = block_sum(double(along));
  if (thread == 0) p.scale_partials[at.index] = sum;
}

template <typename T, typename Problem>
__global__ void __launch_bounds__(kThreads, 2)
    cosine_fused_kernel(const Problem p, int64_t tiles, int64_t across) {
  FAIRLOSS_DYNAMIC_SHARED(unsigned char, shared);
  FAIRLOSS_SHARED(Tile, tile, );
  const auto rows_from = [&](const T* matrix, int64_t first, int64_t rows) {
    const int64_t bytes = p.operands.depth * int64_t(sizeof(T));
    return TileRows{reinterpret_cast<const unsigned char*>(matrix) + first * bytes, bytes,
                    in_tile(rows - first)};
  };
  for (int64_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    const TilePosition at = position_of(p.chunk, across, index);
    if (threadIdx.x == 0) {
      tile.at = at;
      tile.curve = curve_of(p.chunk, at.first_sample);
    }
    if (threadIdx.x < kTile)
      tile.samples[threadIdx.x] = sample_of(p, at, at.first_sample + threadIdx.x);
    Products products;
    multiply_tile<T>(rows_from(p.operands.weight, at.first_class, p.chunk.rows),
                     rows_from(p.operands.embeddings, at.first_sample, p.chunk.stride), shared,
                     products);
    finish_tile(p, tile, shared, products);
    __syncthreads();  // before the next tile takes all that is shared
  }
}

// The ring, and after it what is staged of a tile.
template <typename T, typename Staged, typename Problem>
static void launch_fused(const Problem& p, cudaStream_t stream) {
  constexpr int64_t kStagedBytes = kTile * kPitch * sizeof(Staged);
  const int64_t tiles = tiles_of(p.chunk.rows, p.chunk.stride);
  launch(cosine_fused_kernel<T, Problem>,
         {blocks_for(tiles, 1), kThreads, std::max<int64_t>(kRingBytes, kStagedBytes), stream}, p,
         tiles, tiles_of(1, p.chunk.stride));
}

template <typename T>
void launch_fused_terms(const FusedTermsProblem<T>& p, cudaStream_t stream) {
  launch_fused<T, typename KeptBy<T>::Type>(p, stream);
}

template <typename T>
void launch_fused_slopes(const FusedSlopesProblem<T>& p, cudaStream_t stream) {
  launch_fused<T, T>(p, stream);
}

template void launch_fused_terms(const FusedTermsProblem<float>&, cudaStream_t);
template void launch_fused_terms(const FusedTermsProblem<__nv_bfloat16>&, cudaStream_t);
template void launch_fused_terms(const FusedTermsProblem<__half>&, cudaStream_t);
template void launch_fused_slopes(const FusedSlopesProblem<float>&, cudaStream_t);
template void launch_fused_slopes(const FusedSlopesProblem<__nv_bfloat16>&, cudaStream_t);
template void launch_fused_slopes(const FusedSlopesProblem<__half>&, cudaStream_t);

}  // namespace fairloss::cuda
