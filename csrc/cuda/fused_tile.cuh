// A tile of cosine_fused.cu, 128 classes by 128 samples: its position and its samples.
#pragma once

#include "cosine_terms.cuh"
#include "mma_tile.cuh"

namespace fairloss::cuda {

static_assert(kTileClasses == kTile && kTileSamples == kTile, "one size of tiles");

// Elements from one row to the next of a tile staged in shared memory: 8 more than its columns, so
// that the 8 rows that a warp writes are in different banks.
constexpr unsigned kPitch = kTile + 8;

// The position of a tile. Samples run fastest: blocks that run at the same time read the same
// weights, all but the first of them from L2.
struct TilePosition {
  int64_t index, first_class, first_sample;
  unsigned classes;  // present
};

__device__ inline unsigned in_tile(int64_t left) {
  return left < int64_t(kTile) ? unsigned(left) : kTile;
}

__device__ inline TilePosition position_of(const ClassChunk& p, int64_t sample_tiles,
                                           int64_t index) {
  const int64_t row = index / sample_tiles;
  const int64_t first_class = row * kTileClasses,
                first_sample = (index - row * sample_tiles) * kTileSamples;
  return {index, first_class, first_sample, in_tile(p.rows - first_class)};
}

// The sample of a tile's column.
struct Sample {
  float threshold;
  unsigned target;                            // its row in the tile, or one of those below
  float grad_target_cosine, grad_nlse, nlse;  // for slopes only
};
constexpr unsigned kNoTarget = ~0u, kPadding = ~1u;

__device__ inline Sample sample_of(const ClassChunk& p, const TilePosition& at, int64_t i) {
  if (i >= p.batch) return {hard_negative_of(p, i).threshold, kPadding, 0, 0, 0};
  const int64_t target = target_row(p, i) - at.first_class;
  const bool inside = target >= 0 && target < at.classes;
  return {hard_negative_of(p, i).threshold, inside ? unsigned(target) : kNoTarget, 0, 0, 0};
}

// In shared memory, while products use all registers.
struct Tile {
  TilePosition position;
  HardNegative<float> transform;  // but for the threshold
  Sample samples[kTile];
};

// A set of a thread's rows, as bits: row + 8 k is bit k.
constexpr unsigned kRows = 2 * kDown;

// The row of the sample's target; of padding all rows, which excludes them.
__device__ inline unsigned targets_of(const Sample& sample, unsigned row) {
  const unsigned below = sample.target - row;
  const unsigned one = below < kWarpRows && below % 8 == 0 ? 1u << below / 8 : 0;
  return sample.target == kPadding ? ~0u : one;
}

__device__ inline unsigned absent_rows(const TilePosition& at, unsigned row) {
  return row < at.classes ? ~0u << (at.classes - row + 7) / 8 : ~0u;
}

__device__ inline bool has(unsigned bits, unsigned k) { return (bits >> k & 1) != 0; }

}  // namespace fairloss::cuda
