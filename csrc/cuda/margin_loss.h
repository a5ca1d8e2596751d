#pragma once

#include "margin_table.h"
#include "stream.h"

namespace fairloss::cuda {

// All pointers are the device's, to contiguous memory; T is float or double.
template <typename T>
struct MarginLossProblem {
  int64_t batch;
  const T* target_cosine;       // (B,)
  const T* negative_logsumexp;  // (B,)
  const int64_t* labels;        // (B,), -1: ignored
  const T* scale;               // one number
  MarginTable<T> margins;

  T* loss;         // (B,)
  T* derivatives;  // (3 + columns, B): d loss / d target cosine, nlse, scale and margins
  int64_t* rows;   // (B,) row of the margin table, kIgnored or kSpoilt
};

// (B,) loss of the margin softmax and every derivative, so that a later change of the margin table
// cannot change the gradient. A label or group out of range: NaN for its sample.
template <typename T>
void launch_margin_loss(const MarginLossProblem<T>& problem, cudaStream_t stream);

template <typename T>
struct MarginLossBackwardProblem {
  int64_t batch, num_rows;  // of the margin table
  int columns;
  const T* grad_loss;    // (B,)
  const T* derivatives;  // (3 + columns, B)
  const int64_t* rows;   // (B,)

  T* grad_target_cosine;       // (B,)
  T* grad_negative_logsumexp;  // (B,)
  T* grad_margins;             // (num_rows, columns), zeros: rows without samples are not written
  T* grad_scale;               // one number, zero: not written if B = 0
};

// Ignored samples have no gradient. Spoilt ones (NaN) keep their own, and spoil no shared one.
template <typename T>
void launch_margin_loss_backward(const MarginLossBackwardProblem<T>& problem, cudaStream_t stream);

}  // namespace fairloss::cuda
