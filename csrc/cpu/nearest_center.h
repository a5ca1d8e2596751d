// The nearest other center of every class. Cosines are symmetric, so only tiles on and above the
// diagonal are computed, and each is searched by rows and by columns. Included once per instruction
// set: no guard.
#include "gemm.h"

namespace fairloss::FAIRLOSS_ISA {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kColumns = 256;  // centers in a packed block: 512 kB at D = 512 stay in L2
constexpr int64_t kRows = 96;      // centers compared with it at a time
constexpr int64_t kStride = 272;   // of cosines: odd cache lines, or columns share few L1 sets

// The nearest other center of every class in the tiles seen so far. Of equal cosines the one with
// the lowest class counts, so the order of tiles does not matter.
class Nearest {
  std::vector<float> cosine_;

 public:
  std::vector<int64_t> other;

  explicit Nearest(int64_t classes) : cosine_(classes, -kInfinity), other(classes, -1) {}

  void offer(int64_t c, float cosine, int64_t with) {
    if (cosine < cosine_[c] || (cosine == cosine_[c] && with > other[c])) return;
    cosine_[c] = cosine;
    other[c] = with;
  }

  void merge(const Nearest& later) {
    for (size_t c = 0; c < other.size(); ++c) {
      offer(c, later.cosine_[c], later.other[c]);
    }
  }

  // Adds a tile of the cosines of the classes from `row` on with those from `column` on. NaN, of an
  // empty class, is never a peak; the class of a peak is searched only if the peak reaches the
  // highest cosine so far.
  void add(const float* tile, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    Vector column_peaks[kColumns / kLanes];
    for (int k = 0; k < kColumns / kLanes; ++k) column_peaks[k] = broadcast(-kInfinity);
    for (int64_t j = 0; j < rows; ++j) {
      Vector row_peak = broadcast(-kInfinity);
      for (int64_t k = 0; k < columns; k += kLanes) {
        const Vector cosine = load(tile + j * kStride + k);
        row_peak = cosine > row_peak ? cosine : row_peak;
        Vector& column_peak = column_peaks[k / kLanes];
        column_peak = cosine > column_peak ? cosine : column_peak;
      }
      find(row + j, highest_lane(row_peak), tile + j * kStride, 1, column);
    }
    for (int64_t k = 0; k < columns; ++k) {
      find(column + k, column_peaks[k / kLanes][k % kLanes], tile + k, kStride, row);
    }
  }

 private:
  static float highest_lane(Vector v) {
    float peak = v[0];
    for (int k = 1; k < kLanes; ++k) peak = v[k] > peak ? v[k] : peak;
    return peak;
  }

  void find(int64_t c, float peak, const float* cosines, int64_t step, int64_t first) {
    if (peak < cosine_[c] || peak == -kInfinity) return;
    int64_t k = 0;
    while (cosines[k * step] != peak) ++k;
    offer(c, peak, first + k);
  }
};

// Excludes from a tile each class itself and the padding.
inline void mask(float* cosines, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  for (int64_t j = 0; j < rows; ++j) {
    float* cosine = cosines + j * kStride;
    std::fill(cosine + columns, cosine + padded(columns), -kInfinity);
    const int64_t self = row + j - column;
    if (self >= 0 && self < columns) cosine[self] = -kInfinity;
  }
}

inline int64_t tiles_above(int64_t end) { return (end + kRows - 1) / kRows; }

// One task's share of the tiles. A block of columns has the tiles whose rows begin before its end.
inline void find_nearest(const float* center, int64_t classes, int64_t dims, int task, int tasks,
                         Nearest& nearest) {
  int64_t total = 0, passed = 0;
  for (int64_t first = 0; first < classes; first += kColumns) {
    total += tiles_above(std::min(first + kColumns, classes));
  }
  const Share share = share_of(task, tasks, total, 1);
  Buffer cosines(kRows * kStride);
  for (int64_t first = 0; first < classes; first += kColumns) {
    const int64_t end = std::min(first + kColumns, classes), tiles = tiles_above(end);
    const int64_t begin_tile = std::clamp<int64_t>(share.begin - passed, 0, tiles);
    const int64_t end_tile = std::clamp<int64_t>(share.end - passed, 0, tiles);
    passed += tiles;
    if (begin_tile == end_tile) continue;
    Packed centers(dims, end - first);
    for (int64_t c = first; c < end; ++c) centers.set_column(c - first, center + c * dims);
    for (int64_t row = begin_tile * kRows; row < std::min(end_tile * kRows, end); row += kRows) {
      const int64_t rows = std::min(kRows, end - row);
      multiply(rows, dims, {center + row * dims, dims, 1}, centers, {cosines.data(), kStride});
      mask(cosines.data(), row, rows, first, end - first);
      nearest.add(cosines.data(), row, rows, first, end - first);
    }
  }
}

}  // namespace fairloss::FAIRLOSS_ISA
