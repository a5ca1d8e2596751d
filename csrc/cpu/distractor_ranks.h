#pragma once

#include "matrix_view.h"
#include "parallel.h"

namespace fairloss {

struct DistractorRanks {
  int64_t probes, distractors, trials, tail;
  MatrixView probe_rows;       // (P, D)
  MatrixView distractor_rows;  // (M, D), read once: a memory map need not fit in memory
  const int64_t* probe_index;  // (T,)
  const float* scores;         // (T,)

  int64_t* ranks;      // (T,)
  float* tail_scores;  // (tail,), descending
};

// Returns the first distractor with a NaN or an infinity, or -1. Ranks are meaningless where there
// is one.
int64_t distractor_ranks(const DistractorRanks& problem, const Parallel& parallel);

}  // namespace fairloss
