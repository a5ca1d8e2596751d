// Matrix products whose operands are rounded to a precision and whose sums are float: those of
// gemm.h, or torch's own for bfloat16. Included once per instruction set: no guard.
#include "gemm.h"

namespace fairloss::FAIRLOSS_ISA {

typedef uint16_t Shorts __attribute__((vector_size(2 * FAIRLOSS_LANES), aligned(2), may_alias));

// The right operand B (K, N) of a product, in one of two layouts: panels of rounded floats for
// gemm.h; or, where torch's product of bfloat16 is available, rows 2k and 2k + 1 interleaved.
class RightOperand {
 public:
  const Precision precision;
  const bool interleaved;

  RightOperand(int64_t k, int64_t n, Precision precision_)
      : precision(precision_),
        interleaved(precision_ == Precision::bfloat16 && has_brgemm()),
        n_(n),
        panels_(interleaved ? 0 : k, n),
        pairs_(interleaved ? (k + 1) / 2 * padded(n) : 0) {
    pairs_.fill(0.0f);
  }

  int64_t n() const { return n_; }
  const Packed& panels() const { return panels_; }
  const uint16_t* pairs() const { return reinterpret_cast<const uint16_t*>(pairs_.data()); }

  // B[:count, :] = rows, each times its factor.
  void set_rows(const float* rows, int64_t stride, int64_t count, const float* factor = nullptr) {
    const auto value = [&](int64_t k, int64_t n) {
      if (k >= count) return Vector{};
      const Vector row = load_some(rows + k * stride + n, n_ - n);
      return rounded(factor == nullptr ? row : row * factor[k], precision);
    };
    for (int64_t k = 0; k < count; k += interleaved ? 2 : 1) {
      for (int64_t n = 0; n < n_; n += kLanes) {
        if (interleaved) {
          const Bits both = bits_of(value(k, n)) >> 16 | bits_of(value(k + 1, n));
          store(pairs_.data() + k / 2 * padded(n_) + n, vector_of(both));
        } else {
          store(panels_.address(k, n), value(k, n));
        }
      }
    }
  }

  // B[:, :count] = the transpose of rows (count, k).
  void set_columns(const float* rows, int64_t k, int64_t count) {
    Buffer column(padded(k));
    uint16_t* pairs = reinterpret_cast<uint16_t*>(pairs_.data());
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t d = 0; d < k; d += kLanes) {
        store(column.data() + d, rounded(load_some(rows + n * k + d, k - d), precision));
      }
      if (!interleaved) panels_.set_column(n, column.data());
      for (int64_t d = 0; interleaved && d < k; ++d) {
        pairs[(d / 2 * padded(n_) + n) * 2 + d % 2] = float_to_bfloat16(column.data()[d]);
      }
    }
  }

 private:
  int64_t n_;
  Packed panels_;
  Buffer pairs_;
};

// A rounded, in its order: row by row (m, k), or column by column, which has no factors.
inline Strided rounded_left(int64_t m, int64_t k, Strided a, Precision precision, Buffer& out) {
  const bool row_major = a.column == 1;
  const int64_t outer = row_major ? m : k, inner = row_major ? k : m;
  const int64_t stride = row_major ? a.row : a.column;
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < inner; j += kLanes) {
      Vector value = load_some(a.data + i * stride + j, inner - j);
      if (a.factor != nullptr) value *= a.factor[i];
      store(out.data() + i * padded(inner) + j, rounded(value, precision));
    }
  }
  return row_major ? Strided{out.data(), padded(inner), 1} : Strided{out.data(), 1, padded(inner)};
}

// A as bfloat16, rows of padded(k) with zeros beyond k.
inline void bfloat16_left(int64_t m, int64_t k, Strided a, uint16_t* out) {
  if (a.column == 1) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < k; j += kLanes) {
        Vector value = load_some(a.data + i * a.row + j, k - j);
        if (a.factor != nullptr) value *= a.factor[i];
        const Bits bits = bits_of(rounded(value, Precision::bfloat16)) >> 16;
        *reinterpret_cast<Shorts*>(out + i * padded(k) + j) = __builtin_convertvector(bits, Shorts);
      }
    }
    return;
  }
  std::fill(out, out + m * padded(k), uint16_t(0));
  for (int64_t j = 0; j < k; ++j) {
    for (int64_t i = 0; i < m; i += kLanes) {
      const Vector value = load_some(a.data + j * a.column + i, m - i);
      const Bits bits = bits_of(rounded(value, Precision::bfloat16)) >> 16;
      for (int64_t n = i; n < std::min(m, i + kLanes); ++n) {
        out[n * padded(k) + j] = uint16_t(bits[n - i]);
      }
    }
  }
}

// Floats that hold A (m, k) or its transpose for `multiply`.
inline int64_t scratch_size(int64_t m, int64_t k, Precision precision) {
  return precision == Precision::float32 ? 0 : std::max(m * padded(k), padded(m) * k);
}

// C (m, b.n()) = A (m, k) B, with the first k rows of B.
inline void multiply(int64_t m, int64_t k, Strided a, const RightOperand& b, const Product& c,
                     Buffer& scratch) {
  if (b.interleaved && m * k * b.n() > 0) {
    uint16_t* left = reinterpret_cast<uint16_t*>(scratch.data());
    bfloat16_left(m, k, a, left);
    brgemm({m, padded(b.n()), (k + 1) / 2 * 2, left, padded(k), b.pairs(), padded(b.n()), c.data,
            c.stride, c.accumulate});
  } else if (b.interleaved) {  // an empty sum, which torch's product does not accept
    for (int64_t i = 0; i < m && !c.accumulate; ++i) {
      std::fill(c.data + i * c.stride, c.data + i * c.stride + padded(b.n()), 0.0f);
    }
  } else if (b.precision == Precision::float32) {
    multiply(m, k, a, b.panels(), c);
  } else {
    multiply(m, k, rounded_left(m, k, a, b.precision, scratch), b.panels(), c);
  }
}

// Releases the matrix units when a task ends, also by an exception.
struct MatrixUnitsGuard {
  const RightOperand& operand;

  ~MatrixUnitsGuard() {
    if (operand.interleaved) brgemm_release();
  }
};

}  // namespace fairloss::FAIRLOSS_ISA
