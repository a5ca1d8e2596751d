#pragma once

#include "margin_table.h"
#include "stream.h"

namespace fairloss::cuda {

// All pointers are the device's, to contiguous memory; T is float or double.
template <typename T>
struct MarginLogitsProblem {
  int64_t batch, classes;
  const T* cosine;        // (B, C)
  const int64_t* labels;  // (B,), -1: no target
  const T* scale;         // one number
  MarginTable<T> margins;

  T* logits;      // (B, C)
  T* target;      // (2 + columns, B): phi, d phi / d target cosine and d phi / d margins
  int64_t* rows;  // (B,) row of the margin table, kIgnored or kSpoilt
};

// logits = scale * cosine, with phi in place of the target's cosine. A label or group out of range:
// NaN in the whole row of logits.
template <typename T>
void launch_margin_logits(const MarginLogitsProblem<T>& problem, cudaStream_t stream);

template <typename T>
struct MarginLogitsBackwardProblem {
  int64_t batch, classes, num_rows;  // num_rows: of the margin table
  int columns;
  const T* grad_logits;   // (B, C)
  const T* cosine;        // (B, C), or null where the gradient of the scale is not wanted
  const T* target;        // (2 + columns, B)
  const int64_t* rows;    // (B,)
  const int64_t* labels;  // (B,)
  const T* scale;         // one number

  T* grad_cosine;    // (B, C)
  T* grad_margins;   // (num_rows, columns), zeros: rows without samples are not written
  T* grad_scale;     // one number, zero: not written if B = 0
  double* partials;  // margin_logits_partials(B * C) of workspace
};

// Sums that the first of the two kernels leaves to the second.
int64_t margin_logits_partials(int64_t elements);

// A spoilt row keeps NaN as its own gradient and gives none to the margins.
template <typename T>
void launch_margin_logits_backward(const MarginLogitsBackwardProblem<T>& problem,
                                   cudaStream_t stream);

}  // namespace fairloss::cuda
