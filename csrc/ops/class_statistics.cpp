#include "../cpu/class_statistics.h"

#include <algorithm>
#include <tuple>

#include "../cuda/class_statistics.h"
#include "cuda_views.h"
#include "gemm.h"
#include "parallel.h"
#include "sort.h"

namespace fairloss::ops {

struct StatisticsTensors {
  Tensor count, center, intra_angle, intra_variance, inter_angle, nearest;

  StatisticsTensors(const Tensor& samples, int64_t num_classes)
      : count(empty(samples, {num_classes}, ScalarType::Long)),
        center(empty(samples, {num_classes, samples.size(1)}, ScalarType::Float)),
        intra_angle(empty(samples, {num_classes}, ScalarType::Float)),
        intra_variance(empty(samples, {num_classes}, ScalarType::Float)),
        inter_angle(empty(samples, {num_classes}, ScalarType::Float)),
        nearest(empty(samples, {num_classes}, ScalarType::Long)) {}

  std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> all() const {
    return {count, center, intra_angle, intra_variance, inter_angle, nearest};
  }
};

// Centers in a tile of cosines: 32 MB of floats, which stay in the L2 cache of a large GPU from the
// product that writes them to the kernels that read them. Small in the host run, for many tiles.
#if defined(FAIRLOSS_HOST_RUN)
constexpr int64_t kTileRows = 96, kTileColumns = 160;
#else
constexpr int64_t kTileRows = 2048, kTileColumns = 4096;
#endif

inline void find_nearest_on_cuda(const StatisticsTensors& out, const Tensor& nearest_cosine,
                                 cudaStream_t stream) {
  const int64_t classes = out.center.size(0);
  const int64_t tile = std::min(kTileRows, classes) * std::min(kTileColumns, classes);
  const Tensor scratch = empty(out.center, {tile}, ScalarType::Float);
  for (int64_t row = 0; row < classes; row += kTileRows) {
    const int64_t rows = std::min(kTileRows, classes - row);
    for (int64_t column = row; column < classes; column += kTileColumns) {
      const int64_t columns = std::min(kTileColumns, classes - column);
      const Tensor cosines = matrix_in(scratch, 0, rows, columns);
      gemm(rows_in(out.center, row, rows), transposed(rows_in(out.center, column, columns)),
           cosines);
      cuda::launch_nearest_center(
          {row, rows, column, columns, cosines.const_data_ptr<float>(),
           nearest_cosine.mutable_data_ptr<float>(), out.nearest.mutable_data_ptr<int64_t>()},
          stream);
    }
  }
}

template <typename T>
void statistics_on_cuda(const Tensor& samples, const Tensor& labels, const StatisticsTensors& out) {
  const int64_t num_samples = samples.size(0), columns = samples.size(1);
  const int64_t classes = out.count.size(0), parts = cuda::class_parts(num_samples);
  const CudaStream stream(samples);
  const auto [sorted_labels, order] = stable_sort(labels);
  const Tensor start = empty(samples, {classes + 1}, ScalarType::Long);
  const Tensor inverse_norms = empty(samples, {num_samples}, ScalarType::Float);
  const Tensor part_sums = empty(samples, {parts, columns}, ScalarType::Double);
  const Tensor part_spreads = empty(samples, {parts, 2}, ScalarType::Double);
  const Tensor nearest_cosine = empty(samples, {classes}, ScalarType::Float);
  cuda::launch_class_statistics<T>(
      {num_samples, classes, cuda_view<T>(samples), sorted_labels.const_data_ptr<int64_t>(),
       order.const_data_ptr<int64_t>(), start.mutable_data_ptr<int64_t>(),
       inverse_norms.mutable_data_ptr<float>(), part_sums.mutable_data_ptr<double>(),
       part_spreads.mutable_data_ptr<double>(), out.count.mutable_data_ptr<int64_t>(),
       out.center.mutable_data_ptr<float>(), out.intra_angle.mutable_data_ptr<float>(),
       out.intra_variance.mutable_data_ptr<float>(), nearest_cosine.mutable_data_ptr<float>(),
       out.nearest.mutable_data_ptr<int64_t>()},
      stream);
  find_nearest_on_cuda(out, nearest_cosine, stream);
  cuda::launch_inter_angle(
      {classes, columns, out.center.const_data_ptr<float>(), out.nearest.const_data_ptr<int64_t>(),
       out.inter_angle.mutable_data_ptr<float>()},
      stream);
}

void statistics_on_cpu(const Tensor& samples, const Tensor& labels, const StatisticsTensors& out) {
  class_statistics(
      {samples.size(0), out.count.size(0), view_of("embeddings", samples),
       labels.const_data_ptr<int64_t>(), out.count.mutable_data_ptr<int64_t>(),
       out.center.mutable_data_ptr<float>(), out.intra_angle.mutable_data_ptr<float>(),
       out.intra_variance.mutable_data_ptr<float>(), out.inter_angle.mutable_data_ptr<float>(),
       out.nearest.mutable_data_ptr<int64_t>()},
      torch_threads());
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> class_statistics_op(
    const Tensor& embeddings, const Tensor& labels, int64_t num_classes) {
  check(num_classes > 0, "num_classes: expected at least 1, got ", num_classes);
  const Tensor samples = with_unit_columns("embeddings", embeddings);
  check_shape("labels", labels, samples.size(0));
  check_device("labels", labels, samples);
  const Tensor classes = indices("labels", labels, -1, num_classes);
  const Precision precision = precision_of("embeddings", samples);
  const StatisticsTensors out(samples, num_classes);
  if constexpr (kHasCuda) {
    if (on_cuda(samples)) {
      with_cuda_type(precision, [&](auto type) {
        statistics_on_cuda<typename decltype(type)::Type>(samples, classes, out);
      });
      return out.all();
    }
  }
  statistics_on_cpu(samples, classes, out);
  return out.all();
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "class_statistics(Tensor embeddings, Tensor labels, int num_classes) -> "
      "(Tensor count, Tensor center, Tensor intra_angle, Tensor intra_variance, "
      "Tensor inter_angle, Tensor nearest_class)");
}

FAIRLOSS_IMPL(m) { m.impl("class_statistics", TORCH_BOX(&class_statistics_op)); }

}  // namespace fairloss::ops
