// The layout of the cosines that the forward pass of cosine_partition saves for its backward pass:
// (saved classes, padded batch). fairloss_ext._host exports the constants to the fake kernels.
#pragma once

#include "inline.h"

namespace fairloss {

// Samples are padded to whole vectors of every instruction set (16 floats at most) and, on a GPU,
// to whole accesses of 16 bytes in every precision.
constexpr int64_t kSampleStep = 16;

// Classes are saved in whole tiles: on a CPU 96 x 512 floats of the weight, 192 KB, stay in L2; on
// a GPU a tile is the product of one block of threads.
constexpr int64_t kCpuTileClasses = 96, kCudaTileClasses = 128;

FAIRLOSS_INLINE int64_t padded_batch(int64_t batch) { return round_up(batch, kSampleStep); }

// Classes whose cosines fit in `capacity` numbers, in whole tiles unless they are all.
FAIRLOSS_INLINE int64_t fitting_classes(int64_t capacity, int64_t batch, int64_t classes,
                                        int64_t tile_classes) {
  if (batch == 0) return 0;
  const int64_t fitting = capacity / padded_batch(batch) / tile_classes * tile_classes;
  return fitting < classes ? fitting : classes;
}

}  // namespace fairloss
