#pragma once

#include "parallel.h"
#include "rows.h"

namespace fairloss {

struct DistractorRanks {
  int64_t probes, distractors, trials, tail;
  Rows probe_rows;             // (P, D)
  Rows distractor_rows;        // (M, D), read once: a memory map need not fit in memory
  const int64_t* probe_index;  // (T,)
  const float* scores;         // (T,)

  int64_t* ranks;      // (T,)
  float* tail_scores;  // (tail,), descending
};

// Returns the first distractor with a NaN, whose ranks would mean nothing, or -1.
int64_t distractor_ranks(const DistractorRanks& problem, const Parallel& parallel);

}  // namespace fairloss
