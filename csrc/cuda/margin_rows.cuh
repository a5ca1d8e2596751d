// The gradient of a margin table: for each of its rows, the sum over the samples that use it.
#pragma once

#include "reduce.cuh"

namespace fairloss::cuda {

// out[rows[i] * columns + k] = sum over the samples j with rows[j] == rows[i] of value(j, k).
// Rows without samples are not written. A warp takes a sample, and that of the first sample of a
// row computes the sum: there are no atomics, no sorting and no scratch memory. To know whether it
// is the first a warp reads `rows` up to an equal one. That is soon with few groups; if all rows
// differ it is batch^2 / 32 reads of a whole warp (0.5 million at a batch of 4096, from cache).
template <typename T, typename Value>
__device__ void sum_margin_rows(const int64_t* rows, int64_t batch, int64_t num_rows, int columns,
                                T* out, const Value& value) {
  const int lane = lane_index();
  for (int64_t i = warp_index(); i < batch; i += warp_count()) {
    const int64_t row = rows[i];
    if (row < 0 || row >= num_rows) continue;
    bool first = true;
    for (int64_t j = lane; first && j - lane < i; j += kWarp) {
      first = !__any_sync(kAllLanes, j < i && rows[j] == row);
    }
    if (!first) continue;
    T sums[3] = {};
    for (int64_t j = i + lane; j < batch; j += kWarp) {
      if (rows[j] != row) continue;
      for (int k = 0; k < 3; ++k) {
        if (k < columns) sums[k] += value(j, k);
      }
    }
    for (int k = 0; k < 3; ++k) {
      const T total = warp_sum(sums[k]);
      if (lane == 0 && k < columns) out[row * columns + k] = total;
    }
  }
}

}  // namespace fairloss::cuda
