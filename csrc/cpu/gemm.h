// A register-blocked matrix product on packed panels. Included once per instruction set: no guard.
//
// The register tile holds FAIRLOSS_ROWS x 2 vectors of sums. A step loads two vectors of B and as
// many single floats of A as there are rows: with 12 rows, 14 loads for 24 multiply-adds, so that
// the two multiply-add units of a core are the bound.
#include "simd.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr int kPanel = 2 * kLanes;  // columns of B side by side in one packed panel

// (K, N) packed into panels of kPanel columns, each (K, kPanel) contiguous, padded with zeros: the
// last panel to whole vectors.
class Packed {
 public:
  Packed(int64_t k, int64_t n) : k_(k), n_(n), data_(k * padded(n)) { data_.fill(0.0f); }

  int64_t n() const { return n_; }
  // The panel that starts with column n, and how many columns it stores.
  const float* panel(int64_t n) const { return data_.data() + n * k_; }
  int64_t width(int64_t n) const { return std::min<int64_t>(kPanel, padded(n_) - n); }

  float* address(int64_t k, int64_t n) const {  // of B[k, n], and of the columns after it
    const int64_t first = n / kPanel * kPanel;
    return data_.data() + first * k_ + k * width(first) + (n - first);
  }
  void set_column(int64_t n, const float* column) {  // B[:, n] = column
    const int64_t step = width(n / kPanel * kPanel);
    float* out = address(0, n);
    for (int64_t k = 0; k < k_; ++k) out[k * step] = column[k];
  }

 private:
  int64_t k_, n_;
  Buffer data_;
};

// A is read through two strides, of which one is 1: a transposed matrix needs no copy.
struct Strided {
  const float* data;
  int64_t row, column;
  const float* factor = nullptr;  // (m,) multiplies each row
};

// The destination C of a product A B.
struct Product {
  float* data;              // (m, padded(n)): whole vectors are written
  int64_t stride;           // floats from one row to the next
  bool accumulate = false;  // C += A B
};

// Steps after which a register's sum is added to memory. Rounding errors grow with the square root
// of the length of a chain of additions: four chains of 128 err half as much as one of 512.
constexpr int64_t kChain = 128;

// The pragmas make compilers keep the sums in registers. Not inlined: among other code there would
// be too few registers for the rows of A.
template <int kRows, int kWide, bool kRowMajor>
__attribute__((noinline)) void register_tile(Strided a, int64_t first, int64_t last, const float* b,
                                             const Product& c, int64_t row, int64_t column) {
  Vector sums[kRows][kWide];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j) sums[i][j] = Vector{};
  }
  const float* left = a.data + row * (kRowMajor ? a.row : 1);
  for (int64_t step = first; step < last; ++step) {
    Vector right[kWide];
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j) right[j] = load(b + (step * kWide + j) * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vector x = broadcast(kRowMajor ? left[i * a.row + step] : left[i + step * a.column]);
#pragma GCC unroll 2
      for (int j = 0; j < kWide; ++j) sums[i][j] += x * right[j];
    }
  }
  const bool accumulate = c.accumulate || first > 0;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* out = c.data + (row + i) * c.stride + column;
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j) {
      Vector sum = sums[i][j];
      if (a.factor != nullptr) sum *= a.factor[row + i];
      store(out + j * kLanes, accumulate ? load(out + j * kLanes) + sum : sum);
    }
  }
}

template <int kWide, bool kRowMajor>
inline void multiply_panel(int64_t m, int64_t k, Strided a, const Packed& b, int64_t column,
                           const Product& c) {
  int64_t row = 0;
  const auto rows = [&](auto count) {
    constexpr int kRows = decltype(count)::value;
    for (; row + kRows <= m; row += kRows) {
      int64_t first = 0;
      do {  // once even where k is 0
        const int64_t last = std::min(k, first + kChain);
        register_tile<kRows, kWide, kRowMajor>(a, first, last, b.panel(column), c, row, column);
        first = last;
      } while (first < k);
    }
  };
  rows(std::integral_constant<int, FAIRLOSS_ROWS>{});
  rows(std::integral_constant<int, 4>{});
  rows(std::integral_constant<int, 1>{});
}

// C (m, b.n()) = A (m, k) B, with the first k rows of B.
inline void multiply(int64_t m, int64_t k, Strided a, const Packed& b, const Product& c) {
  for (int64_t column = 0; column < b.n(); column += kPanel) {
    const bool whole = b.width(column) == kPanel;
    if (a.column == 1) {
      whole ? multiply_panel<2, true>(m, k, a, b, column, c)
            : multiply_panel<1, true>(m, k, a, b, column, c);
    } else {
      whole ? multiply_panel<2, false>(m, k, a, b, column, c)
            : multiply_panel<1, false>(m, k, a, b, column, c);
    }
  }
}

}  // namespace fairloss::FAIRLOSS_ISA
