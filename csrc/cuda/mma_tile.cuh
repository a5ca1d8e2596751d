// The product of 128 rows with 128 others on tensor cores: a block's tile of A B^T. Sizes in bytes
// are the same for every type: a stage holds 64 bytes of each row, which are two multiplications.
#pragma once

#include "mma.cuh"

namespace fairloss::cuda {

constexpr unsigned kTile = 128;                       // rows of each operand
constexpr unsigned kChunkBytes = 16, kRowBytes = 64;  // of a copy; of a row in a stage
constexpr unsigned kChunks = kRowBytes / kChunkBytes;
constexpr unsigned kOperandBytes = kTile * kRowBytes, kStageBytes = 2 * kOperandBytes;
constexpr int kStages = 4;
constexpr int kRingBytes = kStages * kStageBytes;  // 64 KiB: two blocks a multiprocessor

// Each of 2 x 4 warps computes 64 x 32 products of the tile, 64 a thread.
constexpr unsigned kWarpsAcross = 4;
constexpr unsigned kWarpRows = 64, kWarpColumns = 32;
constexpr int kWarpsDown = kTile / kWarpRows;
constexpr int kDown = kWarpRows / 16, kAcross = kWarpColumns / 8;  // multiplications
static_assert(kWarpsDown * kWarpsAcross * kWarp == kThreads, "a part for every warp");
static_assert(kWarpsAcross * kWarpColumns == kTile, "parts cover the tile");

// A thread's products: values[m][n][2 h + j] is that of row + 16 m + 8 h with column + 8 n + j.
struct Products {
  float values[kDown][kAcross][4];

  // The product of row + 8 k with column + 8 n + j.
  __device__ float& of(int k, int n, int j) { return values[k / 2][n][k % 2 * 2 + j]; }
};

struct Corner {
  unsigned row, column;
};

// The first row and column of a warp's part.
__device__ inline Corner warp_corner(unsigned thread) {
  const unsigned warp = thread / kWarp;
  return {warp / kWarpsAcross * kWarpRows, warp % kWarpsAcross * kWarpColumns};
}

// The first row and column of a thread's products.
__device__ inline Corner thread_corner(unsigned thread) {
  const Corner part = warp_corner(thread);
  return {part.row + thread % kWarp / 4, part.column + thread % 4 * 2};
}

// The offset of a chunk of a row in a stage. The exclusive or distributes the 8 rows of a matrix
// over the 8 groups of banks that hold a chunk each; without it they would use 2 of the groups.
__device__ inline unsigned swizzled_offset(unsigned row, unsigned chunk) {
  return row * kRowBytes + (chunk ^ (row / 2 % kChunks)) * kChunkBytes;
}

// 128 rows of a matrix, of which the first `present` exist.
struct TileRows {
  const unsigned char* data;
  int64_t bytes;  // of a whole row
  unsigned present;
};

// Begins to copy the next 64 bytes of the rows to a stage.
__device__ inline void load_rows(const TileRows& rows, int64_t offset, unsigned char* stage) {
  constexpr unsigned kApart = kThreads / kChunks;  // rows that are copied at a time
  const unsigned first = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
  const unsigned char* from = rows.data + first * rows.bytes + chunk * kChunkBytes + offset;
#pragma unroll
  for (unsigned row = 0; row < kTile; row += kApart) {
    copy_async(stage + swizzled_offset(first, chunk) + row * kRowBytes, from + row * rows.bytes,
               first + row < rows.present);
  }
}

// A fragment of 16 rows by 32 bytes, one half of a stage: the operand a of a multiplication, or two
// operands b. An instruction takes registers that follow one another, so the two differ in order.
enum class Operand { a, two_b };

template <Operand operand>
__device__ void load_fragment(const unsigned char* rows, int half, uint32_t (&words)[4]) {
  const unsigned lane = threadIdx.x % kWarp, low = lane / 8 % 2, high = lane / 16;
  const bool a = operand == Operand::a;
  load_matrices(
      rows + swizzled_offset(8 * (a ? low : high) + lane % 8, 2 * half + (a ? high : low)), words);
}

template <typename T>
__device__ void multiply_stage(const unsigned char* stage, Products& sum) {
  const Corner part = warp_corner(threadIdx.x);
  const unsigned char* left = stage + part.row * kRowBytes;
  const unsigned char* right = stage + kOperandBytes + part.column * kRowBytes;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    uint32_t a[kDown][4], b[kAcross / 2][4];
#pragma unroll
    for (int m = 0; m < kDown; ++m) {
      load_fragment<Operand::a>(left + 16 * m * kRowBytes, half, a[m]);
    }
#pragma unroll
    for (int n = 0; n < kAcross / 2; ++n) {
      load_fragment<Operand::two_b>(right + 16 * n * kRowBytes, half, b[n]);
    }
#pragma unroll
    for (int m = 0; m < kDown; ++m) {
#pragma unroll
      for (int n = 0; n < kAcross; ++n) {
        const uint32_t (&words)[4] = b[n / 2];
        multiply_add(T(0.0f), a[m], words[n % 2 * 2], words[n % 2 * 2 + 1], sum.values[m][n]);
      }
    }
  }
}

// sum = left right^T, of operands T. All threads of the block call it, when none reads the ring any
// more; after it returns none reads the ring.
template <typename T>
__device__ void multiply_tile(const TileRows& left, const TileRows& right, unsigned char* ring,
                              Products& sum) {
  sum = {};
  const int steps = int(left.bytes / kRowBytes);
  const auto load = [&](int step) {
    if (step < steps) {
      unsigned char* stage = ring + step % kStages * kStageBytes;
      load_rows(left, int64_t(step) * kRowBytes, stage);
      load_rows(right, int64_t(step) * kRowBytes, stage + kOperandBytes);
    }
    commit_copies();  // an empty group at the end, so that waiting counts the same groups
  };
  for (int s = 0; s < kStages - 1; ++s) load(s);
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // all copies have arrived, and all threads have read the stage loaded next
    load(step + kStages - 1);
    multiply_stage<T>(ring + step % kStages * kStageBytes, sum);
  }
  __syncthreads();
}

}  // namespace fairloss::cuda
