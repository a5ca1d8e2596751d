// A register-blocked matrix product on packed panels. Included once per instruction set: no guard.
#include "simd.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr int kPanel = 2 * kLanes;  // columns of B side by side in one packed panel

// (K, N) packed into panels of kPanel columns, each (K, kPanel) contiguous, the last one padded
// with zeros.
class Packed {
 public:
  Packed(int64_t k, int64_t n)
      : k_(k), n_(n), data_(size_t((n + kPanel - 1) / kPanel * kPanel) * size_t(k), 0.0f) {}

  float& at(int64_t k, int64_t n) { return data_[((n / kPanel) * k_ + k) * kPanel + n % kPanel]; }
  const float* panel(int64_t n) const { return data_.data() + n / kPanel * k_ * kPanel; }
  int64_t k() const { return k_; }
  int64_t n() const { return n_; }

  void set_row(int64_t k, const float* row) {  // B[k, :] = row
    for (int64_t n = 0; n < n_; n += kPanel) {
      float* out = data_.data() + (n / kPanel * k_ + k) * kPanel;
      const int64_t width = std::min<int64_t>(kPanel, n_ - n);
      for (int64_t j = 0; j < width; ++j) out[j] = row[n + j];
    }
  }
  void set_column(int64_t n, const float* column) {  // B[:, n] = column
    float* out = data_.data() + n / kPanel * k_ * kPanel + n % kPanel;
    for (int64_t k = 0; k < k_; ++k) out[k * kPanel] = column[k];
  }

 private:
  int64_t k_, n_;
  std::vector<float> data_;
};

// A is read through two strides, so that a transposed matrix needs no copy.
struct Strided {
  const float* data;
  int64_t row, column;
};

template <int kRows>
inline void multiply_tile(Strided a, int64_t k, const float* panel, float* c, int64_t row_stride,
                          int64_t width, bool accumulate) {
  Vector sums[kRows][2] = {};
  for (int64_t step = 0; step < k; ++step) {
    const Vector left = load(panel + step * kPanel);
    const Vector right = load(panel + step * kPanel + kLanes);
    for (int i = 0; i < kRows; ++i) {
      const Vector x = broadcast(a.data[i * a.row + step * a.column]);
      sums[i][0] += x * left;
      sums[i][1] += x * right;
    }
  }
  for (int i = 0; i < kRows; ++i) {
    float* out = c + i * row_stride;
    if (width == kPanel) {
      store(out, accumulate ? load(out) + sums[i][0] : sums[i][0]);
      store(out + kLanes, accumulate ? load(out + kLanes) + sums[i][1] : sums[i][1]);
      continue;
    }
    for (int64_t j = 0; j < width; ++j) {
      const float sum = sums[i][j / kLanes][j % kLanes];
      out[j] = accumulate ? out[j] + sum : sum;
    }
  }
}

// C (m, b.n()) = A (m, b.k()) B, or += where `accumulate`; C has unit column stride.
inline void multiply(int64_t m, Strided a, const Packed& b, float* c, int64_t row_stride,
                     bool accumulate) {
  for (int64_t n = 0; n < b.n(); n += kPanel) {
    const float* panel = b.panel(n);
    const int64_t width = std::min<int64_t>(kPanel, b.n() - n);
    int64_t i = 0;
    const auto rows = [&](auto count) {
      constexpr int kRows = decltype(count)::value;
      for (; i + kRows <= m; i += kRows) {
        multiply_tile<kRows>({a.data + i * a.row, a.row, a.column}, b.k(), panel,
                             c + i * row_stride + n, row_stride, width, accumulate);
      }
    };
    rows(std::integral_constant<int, FAIRLOSS_ROWS>{});
    rows(std::integral_constant<int, 4>{});
    rows(std::integral_constant<int, 1>{});
  }
}

}  // namespace fairloss::FAIRLOSS_ISA
