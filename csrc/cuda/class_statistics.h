// The kernels of class_statistics. A library's stable sort of the samples by label comes before
// them, and its products of centers with centers between them.
#pragma once

#include "cuda_types.h"
#include "fairloss/inline.h"
#include "matrix_view.h"

namespace fairloss::cuda {

// Samples of a part; a class of at least twice as many is summed in parts, by as many warps.
// Partial sums in double take 2 / 128 = 1/64 of the memory of float embeddings.
constexpr int64_t kPartSamples = 128;

// The most parts that classes of so many samples can have.
FAIRLOSS_INLINE int64_t class_parts(int64_t samples) { return samples / kPartSamples; }

// All pointers are the device's, to contiguous memory, except that embeddings have a stride.
template <typename T>
struct ClassStatisticsProblem {
  int64_t samples, classes;
  MatrixView<T> embeddings;      // (N, D)
  const int64_t* sorted_labels;  // (N,) ascending; samples of labels outside [0, C) are ignored
  const int64_t* order;          // (N,) the sample of each

  int64_t* start;        // (C + 1,) scratch: the first position of each class in `order`
  float* inverse_norms;  // (N,) scratch
  double* part_sums;     // (class_parts(N), D) scratch
  double* part_spreads;  // (class_parts(N), 2) scratch

  int64_t* count;         // (C,)
  float* center;          // (C, D) normalized mean of unit embeddings; NaN: no samples
  float* intra_angle;     // (C,) mean angle between sample and center, radians
  float* intra_variance;  // (C,) n / (n - 1) mean(1 - cos(sample, center)); 0 where n = 1
  float* nearest_cosine;  // (C,) minus infinity, for launch_nearest_center
  int64_t* nearest;       // (C,) -1, likewise
};

// Everything except the nearest other centers. The order of every sum depends on the counts of the
// classes alone, so results are the same bits in every run, and however the classes are numbered.
template <typename T>
void launch_class_statistics(const ClassStatisticsProblem<T>& problem, cudaStream_t stream);

struct NearestCenterTile {
  int64_t first_row, rows, first_column, columns;  // classes
  const float* cosines;                            // (rows, columns)

  float* nearest_cosine;  // (C,) the highest so far
  int64_t* nearest;  // (C,) and its class, the lowest of equal cosines; NaN is never the highest
};

// Updates the nearest centers of a tile's rows, and then of its columns: tiles on and above the
// diagonal are enough.
void launch_nearest_center(const NearestCenterTile& tile, cudaStream_t stream);

struct InterAngleProblem {
  int64_t classes, columns;
  const float* center;     // (C, D)
  const int64_t* nearest;  // (C,)

  float* inter_angle;  // (C,) angle to the nearest other center, radians; NaN: there is none
};

void launch_inter_angle(const InterAngleProblem& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
