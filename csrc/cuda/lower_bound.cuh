// A binary search.
#pragma once

#include "launch.cuh"

namespace fairloss::cuda {

// The first of `count` ascending values that is not below `bound`, or `count`.
__device__ inline int64_t lower_bound(const int64_t* values, int64_t count, int64_t bound) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const bool below = values[middle] < bound;
    low = below ? middle + 1 : low;
    high = below ? high : middle;
  }
  return low;
}

}  // namespace fairloss::cuda
