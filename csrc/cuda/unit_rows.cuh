// The normalization of rows and its gradient. A warp takes a row; rows are read twice, the second
// time from cache.
#pragma once

#include "cosine_partition.h"
#include "fairloss/norm.h"
#include "matrix_view.cuh"
#include "reduce.cuh"

namespace fairloss::cuda {

// Visits the columns [0, depth) of a row, some at a time: visit(column, values), 0 from `columns`
// on. vectors: the row is aligned to 16 bytes.
template <typename T, typename Visit>
__device__ void for_columns(const T* row, int64_t columns, int64_t depth, bool vectors,
                            const Visit& visit) {
  constexpr int kLanes = Vector<T>::kLanes;
  for (int64_t d = lane_index() * kLanes; d < depth; d += kWarp * kLanes) {
    visit(d, load_floats<kLanes>(row, d, columns, vectors));
  }
}

// 1 / |row|; 0 for a row without a direction, NaN for one with a NaN or an infinity.
template <typename T>
__device__ float inverse_norm(const T* row, int64_t columns, bool vectors) {
  float squared = 0;
  for_columns(row, columns, columns, vectors, [&](int64_t, const auto& values) {
    for (float value : values.lane) squared += value * value;
  });
  squared = warp_sum(squared);
  if (float_holds(squared)) return 1 / sqrtf(squared);
  double careful = 0;
  for_columns(row, columns, columns, vectors, [&](int64_t, const auto& values) {
    for (float value : values.lane) careful += double(value) * double(value);
  });
  careful = warp_sum(careful);
  return std::isinf(careful) ? NAN : fairloss::inverse_norm(careful);
}

template <typename In, typename Out>
__global__ void unit_rows_kernel(const UnitRowsProblem<In, Out> p, bool vectors) {
  constexpr int kLanes = Vector<In>::kLanes;
  for (int64_t i = warp_index(); i < p.padded_rows; i += warp_count()) {
    const In* row = p.raw.data + i * p.raw.stride;
    const int64_t columns = i < p.rows ? p.raw.columns : 0;
    const float inverse = inverse_norm(row, columns, vectors);
    const bool zero = p.zero_non_finite && std::isnan(inverse);
    for_columns(row, columns, p.depth, vectors, [&](int64_t d, const auto& values) {
      Pack<Out, kLanes> unit;
      for (int l = 0; l < kLanes; ++l) {
        const float value = zero || d + l >= columns ? 0 : values.lane[l] * inverse;
        unit.lane[l] = from_float<Out>(p.tf32 ? to_tf32(value) : value);
      }
      store_pack(p.unit + i * p.depth + d, unit);
    });
    if (lane_index() == 0) p.inverse_norms[i] = inverse;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    row_gradient_kernel(const RowGradientProblem<T> p, bool vectors) {
  constexpr int kLanes = Vector<T>::kLanes, kStep = kWarp * kLanes;
  const int64_t first = lane_index() * kLanes;
  for (int64_t i = warp_index(); i < p.rows; i += warp_count()) {
    const T* row = p.raw.data + i * p.raw.stride;
    const float* grad_unit = p.grad_unit + i * p.depth;
    const float inverse = p.inverse_norms[i];
    const float replacement = p.replacement == nullptr ? 1 : p.replacement[i];
    float radial = 0;  // component of the gradient
    for (int64_t d = first; d < p.raw.columns; d += kStep) {
      const auto grad = load_aligned_floats<kLanes>(grad_unit + d);  // needs no branch: first
      const auto raw = load_floats<kLanes>(row, d, p.raw.columns, vectors);
      for (int l = 0; l < kLanes; ++l) {
        radial += raw.lane[l] * inverse * (d + l < p.raw.columns ? grad.lane[l] : 0);
      }
    }
    radial = warp_sum(radial);
    const float factor = inverse / *p.gradient_scale;
    for (int64_t d = first; d < p.raw.columns; d += kStep) {
      const auto grad = load_aligned_floats<kLanes>(grad_unit + d);
      const auto raw = load_floats<kLanes>(row, d, p.raw.columns, vectors);
      Pack<T, kLanes> grad_raw;
      for (int l = 0; l < kLanes; ++l) {
        const float value = factor * (grad.lane[l] - raw.lane[l] * inverse * radial);
        grad_raw.lane[l] = from_float<T>(replacement == 1 ? value : replacement);
      }
      T* out = p.grad_raw + i * p.raw.columns + d;
      if (vectors && d + kLanes <= p.raw.columns) {
        store_pack(out, grad_raw);
      } else {
        for (int l = 0; l < kLanes && d + l < p.raw.columns; ++l) out[l] = grad_raw.lane[l];
      }
    }
  }
}

}  // namespace fairloss::cuda
