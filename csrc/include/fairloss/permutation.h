// A random permutation that is evaluated item by item, in both directions.
#pragma once

#include <cstdint>

#include "fairloss/inline.h"

namespace fairloss {

// Output `number` (from 0) of the generator splitmix64 started at `seed`: a hash of the two. The
// constants are those of Vigna's splitmix64.c (after Steele, Lea, Flood, OOPSLA 2014).
FAIRLOSS_INLINE uint64_t splitmix64(uint64_t seed, uint64_t number) {
  uint64_t z = seed + (number + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// A permutation of [0, size), size at most 2^31, drawn by `key`. A Feistel network permutes the
// smallest 2^bits numbers that contain [0, size); a result beyond `size` is permuted again until it
// is inside (Black and Rogaway, CT-RSA 2002), less than two steps on average, as 2^bits < 2 size.
// Mitchell et al. (TOPC 2022) shuffle so on GPUs, in 24 rounds with a weaker hash.
class Permutation {
  static constexpr int kRounds = 12;  // even: halves of unequal width end where they began
  uint64_t key_, size_;
  int bits_ = 0;

 public:
  FAIRLOSS_INLINE Permutation(uint64_t key, int64_t size) : key_(key), size_(uint64_t(size)) {
    while (uint64_t(1) << bits_ < size_) ++bits_;
  }

  FAIRLOSS_INLINE int64_t item(int64_t position) const {
    uint64_t x = uint64_t(position);
    do {
      x = forward(x);
    } while (x >= size_);
    return int64_t(x);
  }

  FAIRLOSS_INLINE int64_t position(int64_t item) const {
    uint64_t x = uint64_t(item);
    do {
      x = backward(x);
    } while (x >= size_);
    return int64_t(x);
  }

 private:
  // Bits of the right half, in even rounds; those of the left one in odd rounds.
  FAIRLOSS_INLINE int right_bits(int round) const {
    return round % 2 == 0 ? bits_ - bits_ / 2 : bits_ / 2;
  }

  FAIRLOSS_INLINE uint64_t hash(int round, uint64_t right, int bits) const {
    return splitmix64(key_, uint64_t(round) << 32 | right) & ((uint64_t(1) << bits) - 1);
  }

  // (left, right) becomes (right, left ^ hash(right)).
  FAIRLOSS_INLINE uint64_t forward(uint64_t x) const {
    for (int round = 0; round < kRounds; ++round) {
      const int right_width = right_bits(round), left_width = bits_ - right_width;
      const uint64_t left = x >> right_width, right = x & ((uint64_t(1) << right_width) - 1);
      x = right << left_width | (left ^ hash(round, right, left_width));
    }
    return x;
  }

  FAIRLOSS_INLINE uint64_t backward(uint64_t x) const {
    for (int round = kRounds - 1; round >= 0; --round) {
      const int right_width = right_bits(round), left_width = bits_ - right_width;
      const uint64_t right = x >> left_width, low = x & ((uint64_t(1) << left_width) - 1);
      x = (low ^ hash(round, right, left_width)) << right_width | right;
    }
    return x;
  }
};

}  // namespace fairloss
