// Vectors of FAIRLOSS_LANES floats. Included once per instruction set by each_isa.h: no guard.

namespace fairloss::FAIRLOSS_ISA {

constexpr int kLanes = FAIRLOSS_LANES;

// Loads and stores of Vector need float alignment only. Lanes is the same without attributes, which
// template arguments cannot have.
typedef float Vector __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));
typedef float Lanes __attribute__((vector_size(4 * FAIRLOSS_LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));
typedef int64_t Longs __attribute__((vector_size(4 * FAIRLOSS_LANES), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }
inline Vector broadcast(float x) { return x - Vector{}; }

inline Vector load_some(const float* p, int64_t count) {  // zeros beyond `count`
  if (count >= kLanes) return load(p);
  float few[kLanes] = {};
  for (int64_t k = 0; k < count; ++k) few[k] = p[k];
  return load(few);
}

// The length of n floats in whole vectors.
inline int64_t padded(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Floats on their own cache lines, not initialized: a vector across two lines loads at half speed.
class Buffer {
 public:
  explicit Buffer(int64_t size = 0)
      : size_(size), data_(static_cast<float*>(::operator new(size_t(size) * 4, kLine))) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { ::operator delete(data_, kLine); }

  float* data() const { return data_; }
  void fill(float value) {
    for (int64_t i = 0; i < size_; ++i) data_[i] = value;
  }

 private:
  static constexpr std::align_val_t kLine{64};
  int64_t size_;
  float* data_;
};

inline Bits bits_of(Vector v) { return reinterpret_cast<const Bits&>(v); }
inline Vector vector_of(Bits b) { return reinterpret_cast<const Vector&>(b); }

// To the nearest value of a lower precision, ties to even. Values that overflow float16 are not
// handled: operands are below 2^15.
inline Vector rounded(Vector x, Precision precision) {
  const Bits bits = bits_of(x);
  if (precision == Precision::bfloat16) {
    const Bits near = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    return x == x ? vector_of(near) : x;
  }
  if (precision == Precision::float16) {
    const Bits near = (bits + 0xfff + ((bits >> 13) & 1)) & 0xffffe000u;
    const Vector normal = x == x ? vector_of(near) : x;
    const Vector subnormal = (x + 0.75f) - 0.75f;  // an ulp of 0.75 is 2^-24, float16's smallest
    return x < 0x1p-14f && x > -0x1p-14f ? subnormal : normal;
  }
  return x;
}

inline bool any(Ints mask) {  // by pairs: some compilers fetch lanes one by one
  const Longs pairs = reinterpret_cast<const Longs&>(mask);
  int64_t bits = 0;
  for (int k = 0; k < kLanes / 2; ++k) bits |= pairs[k];
  return bits != 0;
}

inline float sum_of(Vector v) {
  float sum = 0;
  for (int k = 0; k < kLanes; ++k) sum += v[k];
  return sum;
}

inline float dot(const float* a, const float* b, int64_t size) {
  Vector sums[4] = {};
  int64_t d = 0;
  for (; d + 4 * kLanes <= size; d += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) sums[k] += load(a + d + k * kLanes) * load(b + d + k * kLanes);
  }
  float sum = sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; d < size; ++d) sum += a[d] * b[d];
  return sum;
}

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
  const Vector power = p * vector_of(exponent);
  return x < kLow ? Vector{} : power;
}

inline bool is_finite(const float* row, int64_t columns) {
  Vector sum{};  // infinity times 0 is NaN, and so is all that follows
  int64_t d = 0;
  for (; d + kLanes <= columns; d += kLanes) sum += load(row + d) * 0.0f;
  float total = sum_of(sum);
  for (; d < columns; ++d) total += row[d] * 0.0f;
  return total == 0.0f;
}

inline float inverse_norm(const float* row, int64_t columns) {
  const float squared = dot(row, row, columns);
  return float_holds(squared) ? 1.0f / std::sqrt(squared) : careful_inverse_norm(row, columns);
}

// Writes row i, divided by its norm, to `out` and returns the inverse of the norm.
inline float unit_row(const MatrixView& rows, int64_t i, float* out) {
  rows.load(i, out);
  const float inverse = inverse_norm(out, rows.columns);
  for (int64_t d = 0; d < rows.columns; ++d) out[d] *= inverse;
  return inverse;
}

inline void prefetch_row(const MatrixView& rows, int64_t i) {
  const int64_t bytes = rows.precision == Precision::float32 ? 4 : 2;
  const char* row = static_cast<const char*>(rows.data) + i * rows.stride * bytes;
  for (int64_t k = 0; k < rows.columns * bytes; k += 64) __builtin_prefetch(row + k);
}

// Rows as floats: float32 in place, other precisions converted, up to `capacity` rows at a time.
class FloatRows {
  const MatrixView& rows_;
  Buffer converted_;
  const float* first_ = nullptr;

 public:
  FloatRows(const MatrixView& rows, int64_t capacity)
      : rows_(rows), converted_(in_place() ? 0 : capacity * rows.columns) {}

  void load(int64_t first, int64_t count) {
    if (in_place()) {
      first_ = static_cast<const float*>(rows_.data) + first * rows_.stride;
      return;
    }
    for (int64_t j = 0; j < count; ++j) {
      rows_.load(first + j, converted_.data() + j * rows_.columns);
    }
    first_ = converted_.data();
  }
  const float* row(int64_t j) const { return first_ + j * stride(); }
  int64_t stride() const { return in_place() ? rows_.stride : rows_.columns; }

 private:
  bool in_place() const { return rows_.precision == Precision::float32; }
};

}  // namespace fairloss::FAIRLOSS_ISA
