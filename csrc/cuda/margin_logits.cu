// Two kernels in each direction: one streams over the matrix as a flat array, the other has a
// thread or a warp for each sample's target. A single kernel would need a division for every
// vector, to find its row of the matrix.
#include "margin_logits.h"
#include "margin_rows.cuh"
#include "vector.cuh"

namespace fairloss::cuda {

// out = scale * in and, unless `other` is null, partials[block] = the block's sum of in * other.
// vectors: all pointers are aligned to 16 bytes.
template <typename T>
__global__ void scale_kernel(int64_t elements, const T* in, const T* other, const T* scale, T* out,
                             double* partials, bool vectors) {
  constexpr int kLanes = Vector<T>::kLanes;
  const T s = *scale;
  double sum = 0;
  const int64_t whole = vectors ? elements / kLanes * kLanes : 0;
  for (int64_t element = thread_index() * kLanes; element < whole;
       element += thread_count() * kLanes) {
    const Vector<T> x = load_vector(in + element);
    Vector<T> y;
    for (int l = 0; l < kLanes; ++l) y.lane[l] = s * x.lane[l];
    store_pack(out + element, y);
    if (other == nullptr) continue;
    const Vector<T> z = load_vector(other + element);
    for (int l = 0; l < kLanes; ++l) sum += double(x.lane[l]) * double(z.lane[l]);
  }
  for (int64_t element = whole + thread_index(); element < elements; element += thread_count()) {
    out[element] = s * in[element];
    if (other != nullptr) sum += double(in[element]) * double(other[element]);
  }
  if (other == nullptr) return;
  sum = block_sum(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

template <typename T>
__global__ void margin_logits_kernel(const MarginLogitsProblem<T> p) {
  const T scale = *p.scale;
  const int columns = p.margins.columns();
  for (int64_t i = thread_index(); i < p.batch; i += thread_count()) {
    const int64_t label = p.labels[i];
    const int64_t row = label < p.classes ? p.margins.row(i, label) : kInvalid;
    T* target = p.target + i;
    p.margin_rows[i] = row;
    if (row < 0) {
      const T value = row == kIgnored ? T(0) : T(NAN);
      for (int64_t k = 0; k < 2 + columns; ++k) target[k * p.batch] = value;
      if (row == kIgnored) continue;
      for (int64_t j = 0; j < p.classes; ++j) p.logits[i * p.classes + j] = T(NAN);
      continue;
    }
    const int64_t element = i * p.classes + label;
    const Target<T> phi = target_transform(p.cosine[element], p.margins.margin(row),
                                           p.margins.extension, p.margins.straight_through);
    p.logits[element] = scale * phi.value;
    target[0] = phi.value;
    target[p.batch] = phi.d_cosine;
    p.margins.store(phi.d_m1, phi.d_m2, phi.d_m3, target + 2 * p.batch, p.batch);
  }
}

template <typename T>
__global__ void margin_logits_backward_kernel(const MarginLogitsBackwardProblem<T> p,
                                              const double* sums, int64_t partials) {
  const T scale = *p.scale;
  // The target of sample i in the matrix, or -1.
  const auto target_of = [&](int64_t i) {
    const int64_t label = p.labels[i];
    return p.margin_rows[i] >= 0 && label >= 0 && label < p.classes ? i * p.classes + label : -1;
  };
  for (int64_t i = thread_index(); i < p.batch; i += thread_count()) {
    const int64_t element = target_of(i);
    if (element >= 0) {
      p.grad_cosine[element] = scale * p.grad_logits[element] * p.target[p.batch + i];
    } else if (p.margin_rows[i] != kIgnored) {
      for (int64_t j = 0; j < p.classes; ++j) p.grad_cosine[i * p.classes + j] = T(NAN);
    }
  }
  sum_margin_rows(
      p.margin_rows, p.batch, p.num_rows, p.columns, p.grad_margins, [&](int64_t i, int k) {
        const int64_t element = target_of(i);
        return element < 0 ? T(0)
                           : scale * p.grad_logits[element] * p.target[(2 + k) * p.batch + i];
      });
  if (blockIdx.x != 0 || p.cosine == nullptr) return;
  double grad_scale = 0;
  for (int64_t i = threadIdx.x; i < partials; i += blockDim.x) grad_scale += sums[i];
  for (int64_t i = threadIdx.x; i < p.batch; i += blockDim.x) {  // phi in place of the cosine
    const int64_t element = target_of(i);
    if (element >= 0)
      grad_scale += double(p.grad_logits[element]) * double(p.target[i] - p.cosine[element]);
  }
  grad_scale = block_sum(grad_scale);
  if (threadIdx.x == 0) *p.grad_scale = T(grad_scale);
}

int64_t margin_logits_partials(int64_t elements) {
  return blocks_for(elements, kThreads * Vector<float>::kLanes);
}

template <typename T>
static void launch_scale(int64_t elements, const T* in, const T* other, const T* scale, T* out,
                         double* partials, cudaStream_t stream) {
  const bool vectors = is_aligned(in) && is_aligned(out) && is_aligned(other);
  launch(scale_kernel<T>, {margin_logits_partials(elements), kThreads, 0, stream}, elements, in,
         other, scale, out, partials, vectors);
}

template <typename T>
void launch_margin_logits(const MarginLogitsProblem<T>& p, cudaStream_t stream) {
  launch_scale<T>(p.batch * p.classes, p.cosine, nullptr, p.scale, p.logits, nullptr, stream);
  launch(margin_logits_kernel<T>, {blocks_for(p.batch, kThreads), kThreads, 0, stream}, p);
}

template <typename T>
void launch_margin_logits_backward(const MarginLogitsBackwardProblem<T>& p, double* partials,
                                   cudaStream_t stream) {
  const int64_t elements = p.batch * p.classes;
  launch_scale<T>(elements, p.grad_logits, p.cosine, p.scale, p.grad_cosine, partials, stream);
  const int64_t blocks = blocks_for(p.batch, kThreads / kWarp);  // a warp takes a sample
  launch(margin_logits_backward_kernel<T>, {blocks, kThreads, 0, stream}, p, partials,
         margin_logits_partials(elements));
}

template void launch_margin_logits(const MarginLogitsProblem<float>&, cudaStream_t);
template void launch_margin_logits(const MarginLogitsProblem<double>&, cudaStream_t);
template void launch_margin_logits_backward(const MarginLogitsBackwardProblem<float>&, double*,
                                            cudaStream_t);
template void launch_margin_logits_backward(const MarginLogitsBackwardProblem<double>&, double*,
                                            cudaStream_t);

}  // namespace fairloss::cuda
