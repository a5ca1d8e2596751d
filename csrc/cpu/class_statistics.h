#pragma once

#include "matrix_view.h"
#include "parallel.h"

namespace fairloss {

struct ClassStatistics {
  int64_t samples, classes;
  MatrixView embeddings;  // (N, D), read row by row: a memory map need not fit in memory
  const int64_t* labels;  // (N,), -1: ignored

  int64_t* count;         // (C,)
  float* center;          // (C, D) normalized mean of unit embeddings
  float* intra_angle;     // (C,) mean angle between sample and center, radians
  float* intra_variance;  // (C,) n / (n - 1) mean(1 - cos(sample, center)); 0 where n = 1
  float* inter_angle;     // (C,) angle to the nearest other center, radians
  int64_t* nearest;       // (C,) that center, -1: there is none
};

void class_statistics(const ClassStatistics& problem, const Parallel& parallel);

}  // namespace fairloss
