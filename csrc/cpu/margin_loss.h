#pragma once

#include "margin_table.h"

namespace fairloss {

template <typename T>
struct MarginLossProblem {
  int64_t batch;
  const T* target_cosine;       // (B,)
  const T* negative_logsumexp;  // (B,)
  const int64_t* labels;        // (B,), -1: ignored
  T scale;
  MarginTable<T> margins;

  T* loss;         // (B,)
  T* derivatives;  // (3 + columns, B): d loss / d target cosine, nlse, scale and margins
  int64_t* rows;   // (B,) row of the margin table, -1: ignored
};

// (B,) loss of the margin softmax and every derivative, so that a later change of the margin table
// cannot change the gradient.
template <typename T>
void margin_loss(const MarginLossProblem<T>& problem);

}  // namespace fairloss
