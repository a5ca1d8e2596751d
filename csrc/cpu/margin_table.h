#pragma once

#include <cstdint>

#include "fairloss/margin.h"

namespace fairloss {

// Where the margin of a sample stands, and how it enters the target.
template <typename T>
struct MarginTable {
  enum class Rows : int { one = 0, per_class = 1, per_sample = 2 };

  const T* values;        // (R,), or (R, 3) with Kind::combined
  const int64_t* groups;  // (C,) row of each class, or null: a class is its own row
  Rows rows;
  Kind kind;
  Extension extension;
  bool straight_through;

  int columns() const { return kind == Kind::combined ? 3 : 1; }
  int64_t row(int64_t sample, int64_t label) const {
    if (rows == Rows::per_sample) return sample;
    if (rows == Rows::one) return 0;
    return groups == nullptr ? label : groups[label];
  }
  Margin<T> margin(int64_t row) const { return margin_from(kind, values + row * columns()); }
};

// Of the three derivatives with respect to (m1, m2, m3), those that `kind` has: 1 or 3.
template <typename T>
void store_margin_derivatives(Kind kind, const T (&all)[3], T* out, int64_t stride) {
  switch (kind) {
    case Kind::arc: out[0] = all[1]; break;
    case Kind::cos: out[0] = all[2]; break;
    case Kind::sphere: out[0] = all[0]; break;
    case Kind::combined:
      for (int k = 0; k < 3; ++k) out[k * stride] = all[k];
      break;
  }
}

}  // namespace fairloss
