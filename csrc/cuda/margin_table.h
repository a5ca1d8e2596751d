#pragma once

#include <cstdint>

#include "fairloss/margin.h"

namespace fairloss::cuda {

// Instead of the row of a margin table. A label or group out of range cannot be reported from a
// kernel without waiting for it: it spoils its sample, which the caller sees as NaN.
constexpr int64_t kIgnored = -1, kSpoilt = -2;

// Where the margin of a sample stands, and how it enters the target. All pointers are the device's.
template <typename T>
struct MarginTable {
  enum class Rows : int { one = 0, per_class = 1, per_sample = 2 };

  const T* values;        // (R,), or (R, 3) with Kind::combined
  const int64_t* groups;  // (C,) row of each class, or null: a class is its own row
  int64_t num_rows;       // R
  int64_t num_classes;    // C: labels from here on are out of range
  Rows rows;
  Kind kind;
  Extension extension;
  bool straight_through;

  FAIRLOSS_INLINE int columns() const { return kind == Kind::combined ? 3 : 1; }

  FAIRLOSS_INLINE int64_t row(int64_t sample, int64_t label) const {
    if (label == -1) return kIgnored;
    if (label < 0 || label >= num_classes) return kSpoilt;
    int64_t row = label;
    if (rows == Rows::per_sample) {
      row = sample;
    } else if (rows == Rows::one) {
      row = 0;
    } else if (groups != nullptr) {
      row = groups[label];
    }
    return row >= 0 && row < num_rows ? row : kSpoilt;
  }

  FAIRLOSS_INLINE Margin<T> margin(int64_t row) const {
    return margin_from(kind, values + row * columns());
  }

  // Of the three derivatives with respect to (m1, m2, m3), those that `kind` has: 1 or 3.
  FAIRLOSS_INLINE void store(T d_m1, T d_m2, T d_m3, T* out, int64_t stride) const {
    switch (kind) {
      case Kind::arc: out[0] = d_m2; break;
      case Kind::cos: out[0] = d_m3; break;
      case Kind::sphere: out[0] = d_m1; break;
      case Kind::combined:
        out[0] = d_m1;
        out[stride] = d_m2;
        out[2 * stride] = d_m3;
        break;
    }
  }
};

}  // namespace fairloss::cuda
