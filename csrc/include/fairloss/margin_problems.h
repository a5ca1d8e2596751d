// What the kernels of margin_loss and margin_logits read and write. All pointers are of one device,
// to contiguous memory; T is float or double.
#pragma once

#include "fairloss/margin_table.h"

namespace fairloss {

template <typename T>
struct MarginLossProblem {
  int64_t batch;
  const T* target_cosine;       // (B,)
  const T* negative_logsumexp;  // (B,)
  const int64_t* labels;        // (B,), -1: ignored
  const T* scale;               // one number
  MarginTable<T> margins;

  T* loss;               // (B,)
  T* derivatives;        // (3 + columns, B): d loss / d target cosine, nlse, scale and margins
  int64_t* margin_rows;  // (B,) row of the margin table, kIgnored or kInvalid
};

template <typename T>
struct MarginLossBackwardProblem {
  int64_t batch, num_rows;  // num_rows: of the margin table
  int columns;
  const T* grad_loss;          // (B,)
  const T* derivatives;        // (3 + columns, B)
  const int64_t* margin_rows;  // (B,)

  T* grad_target_cosine;       // (B,)
  T* grad_negative_logsumexp;  // (B,)
  T* grad_margins;             // (num_rows, columns), zeros: rows without samples are not written
  T* grad_scale;               // one number, zero: not written if B = 0
};

template <typename T>
struct MarginLogitsProblem {
  int64_t batch, classes;
  const T* cosine;        // (B, C)
  const int64_t* labels;  // (B,), -1: no target
  const T* scale;         // one number
  MarginTable<T> margins;

  T* logits;             // (B, C)
  T* target;             // (2 + columns, B): phi, d phi / d target cosine and d phi / d margins
  int64_t* margin_rows;  // (B,) row of the margin table, kIgnored or kInvalid
};

template <typename T>
struct MarginLogitsBackwardProblem {
  int64_t batch, classes, num_rows;  // num_rows: of the margin table
  int columns;
  const T* grad_logits;        // (B, C)
  const T* cosine;             // (B, C), or null: the gradient of the scale is not needed
  const T* target;             // (2 + columns, B)
  const int64_t* margin_rows;  // (B,)
  const int64_t* labels;       // (B,)
  const T* scale;              // one number

  T* grad_cosine;   // (B, C)
  T* grad_margins;  // (num_rows, columns), zeros: rows without samples are not written
  T* grad_scale;    // one number, zero: not written if B = 0
};

}  // namespace fairloss
