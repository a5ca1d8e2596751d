#pragma once

#include "margin_table.h"
#include "parallel.h"

namespace fairloss {

template <typename T>
struct MarginLogitsProblem {
  int64_t batch, classes;
  const T* cosine;        // (B, C)
  const int64_t* labels;  // (B,), -1: no target
  T scale;
  MarginTable<T> margins;

  T* logits;      // (B, C)
  T* target;      // (2 + columns, B): phi, d phi / d target cosine and d phi / d margins
  int64_t* rows;  // (B,) row of the margin table, -1: no target
};

// logits = scale * cosine, with phi in place of the target's cosine.
template <typename T>
void margin_logits(const MarginLogitsProblem<T>& problem, const Parallel& parallel);

}  // namespace fairloss
