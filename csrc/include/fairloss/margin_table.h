// The margins of samples: a table, and which of its rows a sample uses.
#pragma once

#include "fairloss/margin.h"

namespace fairloss {

// In place of a row of the table. Of an ignored sample everything is 0. A label or group out of
// range cannot be reported from a kernel without synchronizing: it makes its sample NaN.
constexpr int64_t kIgnored = -1, kInvalid = -2;

// The rows of a table: one for all samples, or one for each class or sample. Positions are those in
// fairloss_ext/_arguments.py.
enum class Layout : int { one = 0, per_class = 1, per_sample = 2 };

// Pointers are of the device whose kernel reads the table.
template <typename T>
struct MarginTable {
  const T* values;        // (R,), or (R, 3) with Kind::combined
  const int64_t* groups;  // (C,) row of each class, or null: a class is its own row
  int64_t num_rows;       // R
  int64_t num_classes;    // C: labels from here on are out of range
  Layout layout;
  Kind kind;
  Extension extension;
  bool straight_through;

  FAIRLOSS_INLINE int columns() const { return kind == Kind::combined ? 3 : 1; }

  FAIRLOSS_INLINE int64_t row(int64_t sample, int64_t label) const {
    if (label == -1) return kIgnored;
    if (label < 0 || label >= num_classes) return kInvalid;
    int64_t row = label;
    if (layout == Layout::per_sample) {
      row = sample;
    } else if (layout == Layout::one) {
      row = 0;
    } else if (groups != nullptr) {
      row = groups[label];
    }
    return row >= 0 && row < num_rows ? row : kInvalid;
  }

  FAIRLOSS_INLINE Margin<T> margin(int64_t row) const {
    return margin_from(kind, values + row * columns());
  }

  // Writes those of the three derivatives with respect to (m1, m2, m3) that `kind` has: 1 or 3.
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

}  // namespace fairloss
