// The kernels of class_statistics around two calls of a library: a stable sort of the samples by
// label before them, and products of centres with centres between them.
#pragma once

#include "fairloss/inline.h"
#include "rows.h"
#include "stream.h"

namespace fairloss::cuda {

// A class of twice as many samples or more is summed in parts, by as many warps. Fewer samples a
// part would make more partial sums: at 128 they are 1/64 of float embeddings.
constexpr int64_t kPartSamples = 128;

FAIRLOSS_INLINE int64_t class_parts(int64_t samples) { return samples / kPartSamples; }  // at most

// All pointers are the device's, to contiguous memory, except that embeddings have a stride.
template <typename T>
struct ClassStatisticsProblem {
  int64_t samples, classes;
  Rows<T> embeddings;            // (N, D)
  const int64_t* sorted_labels;  // (N,) ascending; what is not in [0, C) is left out
  const int64_t* order;          // (N,) the sample of each

  int64_t* start;        // (C + 1,) workspace: where each class begins in the order
  float* inverse_norms;  // (N,) workspace
  double* part_sums;     // (class_parts(N), D) workspace
  double* part_spreads;  // (class_parts(N), 2) workspace

  int64_t* count;         // (C,)
  float* center;          // (C, D) normalised mean of unit embeddings; NaN: no samples
  float* intra_angle;     // (C,) mean angle between sample and centre, radians
  float* intra_variance;  // (C,) n / (n - 1) mean(1 - cos(sample, centre)); 0 where n = 1
  float* nearest_cosine;  // (C,) minus infinity, for launch_nearest_center
  int64_t* nearest;       // (C,) -1, likewise
};

// All but the nearest other centres. The order of every sum depends on the counts of the classes
// alone, so results are the same bits in every run, and however the classes are numbered.
template <typename T>
void launch_class_statistics(const ClassStatisticsProblem<T>& problem, cudaStream_t stream);

struct NearestCenterTile {
  int64_t first_row, rows, first_column, columns;  // classes
  const float* cosines;                            // (rows, columns)

  float* nearest_cosine;  // (C,) the highest so far
  int64_t* nearest;       // (C,) and whose it is: of equal ones the lowest class, never NaN
};

// What a tile of cosines between centres tells its rows, and then its columns: tiles on and above
// the diagonal are enough.
void launch_nearest_center(const NearestCenterTile& tile, cudaStream_t stream);

struct InterAngleProblem {
  int64_t classes, columns;
  const float* center;     // (C, D)
  const int64_t* nearest;  // (C,)

  float* inter_angle;  // (C,) angle to the nearest other centre, radians; NaN: there is none
};

void launch_inter_angle(const InterAngleProblem& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
