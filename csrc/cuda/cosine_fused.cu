// The cosines of a tile are computed in registers; from them the forward pass makes terms and the
// backward pass slopes. One kernel strides over tiles, with an overload of finish_tile for each.
#include "cosine_fused.h"
#include "fused_tile.cuh"
#include "reduce.cuh"
#include "vector.cuh"

namespace fairloss::cuda {

template <typename T>
__device__ Sample sample_of(const FusedTermsProblem<T>& p, const TilePosition& position,
                            int64_t i) {
  return sample_of(p.chunk, position, i);
}

template <typename T>
__device__ Sample sample_of(const FusedSlopesProblem<T>& p, const TilePosition& position,
                            int64_t i) {
  Sample sample = sample_of(p.chunk, position, i);
  if (i >= p.chunk.batch) return sample;
  sample.grad_target_cosine = p.upstream.grad_target_cosine[i];
  sample.grad_nlse = p.upstream.grad_nlse[i];
  sample.nlse = p.upstream.nlse[i];
  return sample;
}

// Writes the tile's rows to a matrix (rows, stride), 16 bytes a thread.
template <typename T>
__device__ void store_tile(const TilePosition& position, int64_t stride, unsigned thread,
                           const T* staged, T* matrix) {
  constexpr unsigned kLanes = Vector<T>::kLanes, kVectors = kTile / kLanes;
  for (unsigned v = thread; v < position.classes * kVectors; v += kThreads) {
    const unsigned row = v / kVectors, column = v % kVectors * kLanes;
    if (position.first_sample + column >= stride) continue;
    store_pack(matrix + (position.first_class + row) * stride + position.first_sample + column,
               load_vector(staged + row * kPitch + column));
  }
}

// Two adjacent elements of a staged row in one access: nvcc would split an assignment of a pack.
template <typename T>
__device__ void stage_pair(T* address, T first, T second) {
  using Bits = std::conditional_t<sizeof(T) == sizeof(float), uint2, uint32_t>;
  const T pair[] = {first, second};
  Bits bits;
  memcpy(&bits, pair, sizeof bits);
  *reinterpret_cast<Bits*>(address) = bits;
}

// Combines the values of the lanes that hold the same columns.
template <typename Combine>
__device__ float over_rows(float value, Combine combine) {
  for (int distance = 4; distance < kWarp; distance *= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// A cosine as it is saved, in the type of the first argument.
__device__ inline float saved(float, float cosine) { return cosine; }
__device__ inline int16_t saved(int16_t, float cosine) { return to_fixed(cosine); }

// Writes the cosines to be saved, and partial sums of their terms.
template <typename T>
__device__ void finish_tile(const FusedTermsProblem<T>& p, const Tile& tile, void* shared,
                            Products& products) {
  using Saved = typename SavedCosine<T>::Type;
  FAIRLOSS_SHARED(float, peaks, [kWarpsDown][kTile]);
  FAIRLOSS_SHARED(float, sums, [kWarpsDown][kTile]);
  Saved* const staged = static_cast<Saved*>(shared);
  const TilePosition position = tile.position;
  const unsigned thread = opaque_thread_index();
  const Corner corner = thread_corner(thread);
  const unsigned absent = absent_rows(position, corner.row);
  const float scale = *p.chunk.scale;
  HardNegative<float> transform = tile.transform;
#pragma unroll
  for (int n = 0; n < kAcross; ++n) {
    const unsigned first = corner.column + 8 * n;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Sample sample = tile.samples[first + j];
      const unsigned targets = targets_of(sample, corner.row);
      if (sample.target == kPadding) {
#pragma unroll
        for (unsigned k = 0; k < kRows; ++k) products.of(k, n, j) = 0;
      } else if (targets != 0) {
#pragma unroll
        for (unsigned k = 0; k < kRows; ++k) {
          if (has(targets, k))
            p.target_cosine[position.first_sample + first + j] = products.of(k, n, j);
        }
      }
    }
#pragma unroll
    for (unsigned k = 0; k < kRows; ++k) {
      stage_pair(staged + (corner.row + 8 * k) * kPitch + first,
                 saved(Saved(), products.of(k, n, 0)), saved(Saved(), products.of(k, n, 1)));
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Sample sample = tile.samples[first + j];
      transform.threshold = sample.threshold;
      const unsigned targets = targets_of(sample, corner.row), excluded = targets | absent;
      float peak = -INFINITY, sum = 0;
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) {
        float& product = products.of(k, n, j);
        product = has(excluded, k) ? -INFINITY : scale * transform.value(product);
        peak = fmaxf(peak, product);
      }
      peak = over_rows(peak, [](float x, float y) { return fmaxf(x, y); });
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) {
        sum += relative_exp(products.of(k, n, j), peak);
      }
      sum = over_rows(sum, [](float x, float y) { return x + y; });
      if (thread % kWarp < 4) {
        peaks[corner.row / kWarpRows][first + j] = peak;
        sums[corner.row / kWarpRows][first + j] = sum;
      }
    }
  }
  __syncthreads();
  if (p.saved_cosines != nullptr) {
    store_tile(position, p.chunk.stride, thread, staged, p.saved_cosines);
  }
  const int64_t i = position.first_sample + thread;
  if (thread >= kTile || i >= p.chunk.stride) return;
  store_partial(peaks, sums, int(thread), p.chunk.stride,
                p.partials + position.first_class / kTileClasses * 2 * p.chunk.stride + i);
}

// Writes the gradients of the cosines, and a partial sum of the scale's gradient where wanted.
template <typename T>
__device__ void finish_tile(const FusedSlopesProblem<T>& p, const Tile& tile, void* shared,
                            Products& products) {
  T* const staged = static_cast<T*>(shared);
  const TilePosition position = tile.position;
  const unsigned thread = opaque_thread_index();
  const Corner corner = thread_corner(thread);
  const unsigned absent = absent_rows(position, corner.row);
  const float scale = *p.chunk.scale;
  HardNegative<float> transform = tile.transform;
  float grad_scale = 0;  // of 64 products; float's rounding is smaller than theirs
#pragma unroll
  for (int n = 0; n < kAcross; ++n) {
    const unsigned first = corner.column + 8 * n;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const Sample sample = tile.samples[first + j];
      transform.threshold = sample.threshold;
      const unsigned targets = targets_of(sample, corner.row), excluded = targets | absent;
#pragma unroll
      for (unsigned k = 0; k < kRows; ++k) {
        float& product = products.of(k, n, j);
        const NegativeGradient negative =
            negative_gradient(product, transform, scale, sample.nlse, sample.grad_nlse);
        if (!has(excluded, k)) grad_scale += negative.scale;
        product = has(targets, k) ? sample.grad_target_cosine : negative.cosine;
      }
    }
#pragma unroll
    for (unsigned k = 0; k < kRows; ++k) {
      stage_pair(staged + (corner.row + 8 * k) * kPitch + first, T(products.of(k, n, 0)),
                 T(products.of(k, n, 1)));
    }
  }
  __syncthreads();
  store_tile(position, p.chunk.stride, thread, staged, p.grad_cosine);
  if (p.grad_partials == nullptr) return;
  const double sum = block_sum(double(grad_scale));
  if (thread == 0) p.grad_partials[position.index] = sum;
}

template <typename T, typename Problem>
__global__ void __launch_bounds__(kThreads, 2)
    cosine_fused_kernel(const Problem p, int64_t tiles, int64_t sample_tiles) {
  FAIRLOSS_DYNAMIC_SHARED(unsigned char, shared);
  FAIRLOSS_SHARED(Tile, tile, );
  const auto tile_rows = [&](const T* matrix, int64_t first, int64_t rows) {
    const int64_t bytes = p.operands.depth * int64_t(sizeof(T));
    const auto* data = reinterpret_cast<const unsigned char*>(matrix);
    return TileRows{data + first * bytes, bytes, in_tile(rows - first)};
  };
  for (int64_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    const TilePosition position = position_of(p.chunk, sample_tiles, index);
    if (threadIdx.x == 0) {
      tile.position = position;
      tile.transform = hard_negative_of(p.chunk, position.first_sample);
    }
    if (threadIdx.x < kTile) {
      tile.samples[threadIdx.x] = sample_of(p, position, position.first_sample + threadIdx.x);
    }
    Products products;
    multiply_tile<T>(tile_rows(p.operands.weight, position.first_class, p.chunk.rows),
                     tile_rows(p.operands.embeddings, position.first_sample, p.chunk.stride),
                     shared, products);
    finish_tile(p, tile, shared, products);
    __syncthreads();  // before the next tile overwrites shared memory
  }
}

// Shared memory holds the ring of operands and, after the product, the staged rows of a tile.
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
  launch_fused<T, typename SavedCosine<T>::Type>(p, stream);
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
