// Vectors of FAIRLOSS_LANES floats. Included once per instruction set by each_isa.h: no guard.

namespace fairloss::FAIRLOSS_ISA {

constexpr int kLanes = FAIRLOSS_LANES;

// Loads and stores need float alignment only.
typedef float Vector __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
inline Vector broadcast(float x) { return x - Vector{}; }

// e^x for x <= 88, to 2 ulp; 0 below -87 (float would go subnormal), NaN stays NaN.
// x = n ln2 + r with |r| <= ln2 / 2; e^r by its Taylor series, next term r^8 / 8! < 6e-9.
inline Vector exp(Vector x) {
  const Vector kRound = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Vector kLow = broadcast(-87.0f);
  const Vector clamped = x < kLow ? kLow : x;
  const Vector n = (clamped * 1.44269504f + kRound) - kRound;
  const Vector r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;  // ln2 in two parts
  Vector p = broadcast(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Bits exponent = (Bits(__builtin_convertvector(n, Ints)) + 127u) << 23;
  const Vector power = p * reinterpret_cast<const Vector&>(exponent);
  return x < kLow ? Vector{} : power;
}

inline float inverse_norm(const float* row, int64_t columns) {
  Vector sums[2] = {};
  int64_t d = 0;
  for (; d + 2 * kLanes <= columns; d += 2 * kLanes) {
    sums[0] += load(row + d) * load(row + d);
    sums[1] += load(row + d + kLanes) * load(row + d + kLanes);
  }
  float squared = 0;
  for (int k = 0; k < kLanes; ++k) squared += sums[0][k] + sums[1][k];
  for (; d < columns; ++d) squared += row[d] * row[d];
  const bool safe = squared > 1e-20f && squared < 1e38f;  // no overflow, no lost subnormals
  return safe ? 1.0f / std::sqrt(squared) : careful_inverse_norm(row, columns);
}

// Writes row i at length 1 and returns what it was multiplied by.
inline float unit_row(const Rows& rows, int64_t i, float* out) {
  rows.load(i, out);
  const float inverse = inverse_norm(out, rows.columns);
  for (int64_t d = 0; d < rows.columns; ++d) out[d] *= inverse;
  return inverse;
}

}  // namespace fairloss::FAIRLOSS_ISA
