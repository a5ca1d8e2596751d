// Samples are in the order of their classes. A warp takes a class; a class of many samples is
// divided into parts, a warp each, whose results are merged in order. Embeddings are read three
// times: for their norms, for the sums and for the spread. To read them less often a warp would
// have to hold whole rows, and most of the time goes to the product of the centers with themselves.
#include "class_statistics.h"
#include "fairloss/norm.h"
#include "lower_bound.cuh"
#include "matrix_view.cuh"
#include "reduce.cuh"

namespace fairloss::cuda {

// Consecutive samples of one class, in the order of classes.
struct Range {
  int64_t label, begin, end;
  int64_t part;  // -1: the whole class
};

// The samples of a unit of work: 0 to C - 1 are classes, and from C on parts. A class that is
// divided into parts is empty as a whole, and a part that does not exist is empty.
//
// Part k of a class that begins at s is slot s / kPartSamples + k. A class has as many parts as
// kPartSamples fit in it, the last one longer, so it ends before the next one's first slot begins,
// and a slot's part, if any, belongs to the class at the slot's last position.
template <typename T>
__device__ Range range_of(const ClassStatisticsProblem<T>& p, int64_t work) {
  if (work < p.classes) {
    const int64_t begin = p.start[work], end = p.start[work + 1];
    const bool whole = end - begin < 2 * kPartSamples;
    return {work, begin, whole ? end : begin, -1};
  }
  const int64_t slot = work - p.classes, last = (slot + 1) * kPartSamples - 1;
  const int64_t label = p.sorted_labels[last];
  const Range none = {-1, 0, 0, slot};
  if (label < 0 || label >= p.classes) return none;
  const int64_t start = p.start[label], end = p.start[label + 1];
  const int64_t begin = start + (last - start) / kPartSamples * kPartSamples;
  const int64_t after = begin + kPartSamples;
  if (end - start < 2 * kPartSamples || after > end) return none;
  return {label, begin, after + kPartSamples > end ? end : after, slot};
}

// The first part of a class of many samples, whose others follow it.
struct Parts {
  int64_t first, count;  // count 0: the class has none
};

template <typename T>
__device__ Parts parts_of(const ClassStatisticsProblem<T>& p, int64_t label) {
  const int64_t begin = p.start[label], samples = p.start[label + 1] - begin;
  return {begin / kPartSamples, samples < 2 * kPartSamples ? 0 : samples / kPartSamples};
}

template <typename T>
__global__ void start_kernel(const ClassStatisticsProblem<T> p) {
  for (int64_t c = thread_index(); c <= p.classes; c += thread_count()) {
    p.start[c] = lower_bound(p.sorted_labels, p.samples, c);
  }
}

template <typename T>
__global__ void inverse_norm_kernel(const ClassStatisticsProblem<T> p, bool vectors) {
  constexpr int kLanes = Vector<T>::kLanes;
  const MatrixView<T> rows = p.embeddings;
  for (int64_t i = warp_index(); i < p.samples; i += warp_count()) {
    double squared = 0;
    for (int64_t d = lane_index() * kLanes; d < rows.columns; d += kWarp * kLanes) {
      const auto row = load_floats<kLanes>(rows.data + i * rows.stride, d, rows.columns, vectors);
      for (int l = 0; l < kLanes; ++l) squared += double(row.lane[l]) * double(row.lane[l]);
    }
    squared = warp_sum(squared);
    if (lane_index() == 0) p.inverse_norms[i] = fairloss::inverse_norm(squared);
  }
}

// Sums of unit rows, of classes into `center` and of parts into `part_sums`. A warp takes a range
// and as many columns as its lanes hold.
template <typename T>
__global__ void sum_kernel(const ClassStatisticsProblem<T> p, bool vectors) {
  constexpr int kLanes = Vector<T>::kLanes;
  constexpr int kFloatRows = 4;  // loaded together and summed in float, then added in double
  const MatrixView<T> rows = p.embeddings;
  const int64_t blocks = (rows.columns + kWarp * kLanes - 1) / (kWarp * kLanes);
  const int64_t all = (p.classes + class_parts(p.samples)) * blocks;
  for (int64_t work = warp_index(); work < all; work += warp_count()) {
    const Range range = range_of(p, work / blocks);
    if (range.begin == range.end) continue;
    const int64_t d = (work % blocks * kWarp + lane_index()) * kLanes;
    double sum[kLanes] = {};
    for (int64_t k = range.begin; k < range.end; k += kFloatRows) {
      float partial[kLanes] = {};
      for (int g = 0; g < kFloatRows; ++g) {
        if (k + g >= range.end) break;
        const int64_t i = p.order[k + g];
        const float inverse = p.inverse_norms[i];
        const auto row = load_floats<kLanes>(rows.data + i * rows.stride, d, rows.columns, vectors);
        for (int l = 0; l < kLanes; ++l) partial[l] += inverse * row.lane[l];
      }
      for (int l = 0; l < kLanes; ++l) sum[l] += double(partial[l]);
    }
    for (int l = 0; l < kLanes && d + l < rows.columns; ++l) {
      if (range.part < 0) {
        p.center[range.label * rows.columns + d + l] = float(sum[l]);
      } else {
        p.part_sums[range.part * rows.columns + d + l] = sum[l];
      }
    }
  }
}

// A thread takes a column of a class with parts, at its first part.
template <typename T>
__global__ void sum_parts_kernel(const ClassStatisticsProblem<T> p) {
  const int64_t columns = p.embeddings.columns, all = class_parts(p.samples) * columns;
  for (int64_t work = thread_index(); work < all; work += thread_count()) {
    const int64_t slot = work / columns, d = work % columns;
    const Range range = range_of(p, p.classes + slot);
    if (range.begin == range.end || range.begin != p.start[range.label]) continue;
    const int64_t end = slot + parts_of(p, range.label).count;
    double sum = 0;
    for (int64_t part = slot; part < end; ++part) sum += p.part_sums[part * columns + d];
    p.center[range.label * columns + d] = float(sum);
  }
}

// Divides the sums by their norms.
template <typename T>
__global__ void center_kernel(const ClassStatisticsProblem<T> p) {
  const int64_t columns = p.embeddings.columns;
  for (int64_t c = warp_index(); c < p.classes; c += warp_count()) {
    float* center = p.center + c * columns;
    const int64_t count = p.start[c + 1] - p.start[c];
    double squared = 0;
    for (int64_t d = lane_index(); d < columns && count > 0; d += kWarp) {
      squared += double(center[d]) * double(center[d]);
    }
    const float inverse = fairloss::inverse_norm(warp_sum(squared));
    for (int64_t d = lane_index(); d < columns; d += kWarp) {
      center[d] = count > 0 ? center[d] * inverse : NAN;
    }
    if (lane_index() != 0) continue;
    p.count[c] = count;
    p.nearest_cosine[c] = -INFINITY;
    p.nearest[c] = -1;
  }
}

// Squared lengths of a difference and a sum.
struct Chords {
  float difference, sum;

  __device__ float angle() const { return angle_from_chords(difference, sum); }
};

// Chords between factor * a and b, in every lane of a warp.
template <typename T>
__device__ Chords chords(const T* a, float factor, bool a_vectors, const float* b, bool b_vectors,
                         int64_t columns) {
  constexpr int kLanes = Vector<T>::kLanes;
  float difference = 0, sum = 0;
  for (int64_t d = lane_index() * kLanes; d < columns; d += kWarp * kLanes) {
    const auto x = load_floats<kLanes>(a, d, columns, a_vectors);
    const auto y = load_floats<kLanes>(b, d, columns, b_vectors);
    for (int l = 0; l < kLanes; ++l) {
      const float ax = factor * x.lane[l], by = y.lane[l];
      difference += (ax - by) * (ax - by);
      sum += (ax + by) * (ax + by);
    }
  }
  return {warp_sum(difference), warp_sum(sum)};
}

template <typename T>
__device__ void write_spread(const ClassStatisticsProblem<T>& p, int64_t c, double angle,
                             double variance) {
  const int64_t count = p.start[c + 1] - p.start[c];
  const float one = count == 0 ? NAN : 0.0f;
  p.intra_angle[c] = count < 2 ? one : float(angle / double(count));
  p.intra_variance[c] = count < 2 ? one : float(variance / double(count - 1));
}

template <typename T>
__global__ void spread_kernel(const ClassStatisticsProblem<T> p, bool vectors,
                              bool center_vectors) {
  const MatrixView<T> rows = p.embeddings;
  const int64_t all = p.classes + class_parts(p.samples);
  for (int64_t work = warp_index(); work < all; work += warp_count()) {
    const Range range = range_of(p, work);
    double angle = 0, variance = 0;
    for (int64_t k = range.begin; k < range.end; ++k) {
      const int64_t i = p.order[k];
      const Chords chord =
          chords(rows.data + i * rows.stride, p.inverse_norms[i], vectors,
                 p.center + range.label * rows.columns, center_vectors, rows.columns);
      angle += double(chord.angle());
      variance += double(chord.difference) / 2;  // 1 - cos of unit vectors
    }
    if (lane_index() != 0) continue;
    if (range.part >= 0) {
      p.part_spreads[2 * range.part] = angle;
      p.part_spreads[2 * range.part + 1] = variance;
    } else if (parts_of(p, range.label).count == 0) {
      write_spread(p, range.label, angle, variance);
    }
  }
}

template <typename T>
__global__ void spread_parts_kernel(const ClassStatisticsProblem<T> p) {
  for (int64_t c = warp_index(); c < p.classes; c += warp_count()) {
    const Parts parts = parts_of(p, c);
    if (parts.count == 0) continue;
    double angle = 0, variance = 0;
    for (int64_t part = lane_index(); part < parts.count; part += kWarp) {
      angle += p.part_spreads[2 * (parts.first + part)];
      variance += p.part_spreads[2 * (parts.first + part) + 1];
    }
    angle = warp_sum(angle);
    variance = warp_sum(variance);
    if (lane_index() == 0) write_spread(p, c, angle, variance);
  }
}

// The nearest center so far. NaN, a class without samples, is never nearer.
struct Nearest {
  float cosine = -INFINITY;
  int64_t other = -1;

  __device__ void offer(float offered, int64_t with) {
    if (offered > cosine || (offered == cosine && with < other)) {
      cosine = offered;
      other = with;
    }
  }
  __device__ void write(const NearestCenterTile& p, int64_t c) const {
    Nearest best = {p.nearest_cosine[c], p.nearest[c]};
    best.offer(cosine, other);
    p.nearest_cosine[c] = best.cosine;
    p.nearest[c] = best.other;
  }
};

// The nearest to center `self` among every step-th of `count` centers from `begin` on. They are
// classes from `first` on, and their cosines are `pitch` apart.
__device__ Nearest nearest_of(int64_t self, int64_t first, const float* cosines, int64_t pitch,
                              int64_t begin, int64_t count, int step) {
  constexpr int kLoads = 8;  // at a time, of which nvcc keeps 5 or more in flight
  Nearest nearest;
  for (int64_t k = begin; k < count; k += kLoads * step) {
    float cosine[kLoads];
#pragma unroll
    for (int n = 0; n < kLoads; ++n) {
      const int64_t other = k + n * step;
      cosine[n] = other < count && first + other != self ? cosines[other * pitch] : NAN;
    }
#pragma unroll
    for (int n = 0; n < kLoads; ++n) nearest.offer(cosine[n], first + k + n * step);
  }
  return nearest;
}

// A warp takes a row.
__global__ void nearest_of_row_kernel(const NearestCenterTile p) {
  for (int64_t j = warp_index(); j < p.rows; j += warp_count()) {
    const int64_t c = p.first_row + j;
    const float* cosines = p.cosines + j * p.columns;
    Nearest nearest = nearest_of(c, p.first_column, cosines, 1, lane_index(), p.columns, kWarp);
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const float cosine = __shfl_xor_sync(kAllLanes, nearest.cosine, distance);
      nearest.offer(cosine, __shfl_xor_sync(kAllLanes, nearest.other, distance));
    }
    if (lane_index() == 0) nearest.write(p, c);
  }
}

// A block takes as many columns as a warp has lanes, and its warps share the rows.
__global__ void nearest_of_column_kernel(const NearestCenterTile p) {
  constexpr int kWarps = kThreads / kWarp;
  FAIRLOSS_SHARED(float, cosines, [kWarps][kWarp]);
  FAIRLOSS_SHARED(int64_t, others, [kWarps][kWarp]);
  const int lane = lane_index(), warp = int(threadIdx.x) / kWarp;
  for (int64_t first = int64_t(blockIdx.x) * kWarp; first < p.columns;
       first += int64_t(gridDim.x) * kWarp) {
    const int64_t k = first + lane, c = p.first_column + k;
    Nearest nearest = nearest_of(c, p.first_row, p.cosines + k, p.columns, warp,
                                 k < p.columns ? p.rows : 0, kWarps);
    cosines[warp][lane] = nearest.cosine;
    others[warp][lane] = nearest.other;
    __syncthreads();
    for (int w = 1; w < kWarps && warp == 0; ++w) nearest.offer(cosines[w][lane], others[w][lane]);
    if (warp == 0 && k < p.columns) nearest.write(p, c);
    __syncthreads();
  }
}

__global__ void inter_angle_kernel(const InterAngleProblem p, bool vectors) {
  for (int64_t c = warp_index(); c < p.classes; c += warp_count()) {
    const int64_t nearest = p.nearest[c];
    const float* center = p.center + c * p.columns;
    const float* other = p.center + (nearest < 0 ? c : nearest) * p.columns;
    const Chords chord = chords(center, 1.0f, vectors, other, vectors, p.columns);
    if (lane_index() == 0) p.inter_angle[c] = nearest < 0 ? NAN : chord.angle();
  }
}

static LaunchConfig warps_for(int64_t work, cudaStream_t stream) {
  return {blocks_for(work, kThreads / kWarp), kThreads, 0, stream};
}

static LaunchConfig threads_for(int64_t work, cudaStream_t stream) {
  return {blocks_for(work, kThreads), kThreads, 0, stream};
}

template <typename T>
void launch_class_statistics(const ClassStatisticsProblem<T>& p, cudaStream_t stream) {
  const int64_t columns = p.embeddings.columns, parts = class_parts(p.samples);
  constexpr int64_t kColumns = kWarp * Vector<T>::kLanes;
  const int64_t column_blocks = (columns + kColumns - 1) / kColumns;
  const bool vectors = is_aligned(p.embeddings);
  const bool center_vectors = is_aligned(MatrixView<float>{p.center, columns, columns});
  launch(start_kernel<T>, threads_for(p.classes + 1, stream), p);
  launch(inverse_norm_kernel<T>, warps_for(p.samples, stream), p, vectors);
  launch(sum_kernel<T>, warps_for((p.classes + parts) * column_blocks, stream), p, vectors);
  launch(sum_parts_kernel<T>, threads_for(parts * columns, stream), p);
  launch(center_kernel<T>, warps_for(p.classes, stream), p);
  launch(spread_kernel<T>, warps_for(p.classes + parts, stream), p, vectors, center_vectors);
  launch(spread_parts_kernel<T>, warps_for(parts == 0 ? 0 : p.classes, stream), p);
}

void launch_nearest_center(const NearestCenterTile& p, cudaStream_t stream) {
  launch(nearest_of_row_kernel, warps_for(p.rows, stream), p);
  launch(nearest_of_column_kernel, {blocks_for(p.columns, kWarp), kThreads, 0, stream}, p);
}

void launch_inter_angle(const InterAngleProblem& p, cudaStream_t stream) {
  const bool vectors = is_aligned(MatrixView<float>{p.center, p.columns, p.columns});
  launch(inter_angle_kernel, warps_for(p.classes, stream), p, vectors);
}

template void launch_class_statistics(const ClassStatisticsProblem<float>&, cudaStream_t);
template void launch_class_statistics(const ClassStatisticsProblem<__nv_bfloat16>&, cudaStream_t);
template void launch_class_statistics(const ClassStatisticsProblem<__half>&, cudaStream_t);

}  // namespace fairloss::cuda
