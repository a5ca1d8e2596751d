#include "../cpu/distractor_ranks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "../cuda/distractor_ranks.h"
#include "cuda_views.h"
#include "gemm.h"
#include "parallel.h"
#include "sort.h"

namespace fairloss::ops {

struct RankArguments {
  Tensor probes, distractors, probe_index, scores;
  int64_t tail;
};

constexpr char kExpectedFinite[] = ": expected finite rows, got NaN or infinity in row ";

void check_finite(const char* name, const Tensor& matrix) {
  const MatrixView rows = view_of(name, matrix);
  std::vector<float> row(rows.columns);
  for (int64_t i = 0; i < matrix.size(0) && readable(matrix); ++i) {
    rows.load(i, row.data());
    for (float value : row) {
      check(std::isfinite(value), name, kExpectedFinite, i);
    }
  }
}

// Probes and distractors of every product. All products have one shape, padded with zeros, so that
// the library uses one kernel for all and a score does not depend on the position of its pair. A
// block of scores is 8 MB, which stay in a GPU's L2 cache until they are counted by 128 blocks of
// threads, one a probe. Small in the host run, for many blocks.
constexpr int64_t kProbes = 128;
#if defined(FAIRLOSS_HOST_RUN)
constexpr int64_t kDistractors = 160;
#else
constexpr int64_t kDistractors = 16384;
#endif

inline std::tuple<Tensor, Tensor> ranks_on_cuda(const RankArguments& a) {
  check_finite("distractors", a.distractors);
  const bool mixed = a.probes.scalar_type() != a.distractors.scalar_type();
  const int64_t probes = a.probes.size(0), distractors = a.distractors.size(0);
  const int64_t trials = a.scores.numel();
  const CudaStream stream(a.probes);
  const auto [sorted_probes, order] = stable_sort(a.probe_index);
  const Tensor start = empty(a.probes, {probes + 1}, ScalarType::Long);
  const Tensor ranks = empty(a.probes, {trials}, ScalarType::Long);
  const cuda::RankTrials problem{trials,
                                 probes,
                                 sorted_probes.const_data_ptr<int64_t>(),
                                 order.const_data_ptr<int64_t>(),
                                 a.scores.const_data_ptr<float>(),
                                 start.mutable_data_ptr<int64_t>(),
                                 ranks.mutable_data_ptr<int64_t>()};
  cuda::launch_start_ranks(problem, stream);

  const Tensor padded =
      with_zero_rows(mixed ? as_float(a.probes) : a.probes, round_up(probes, kProbes));
  // The highest scores so far, and after them those of a block.
  const int64_t head = round_up(a.tail, 4);  // scores are aligned to 16 bytes
  const Tensor pool = empty(a.probes, {head + kProbes * kDistractors}, ScalarType::Float);
  Tensor tail = rows_in(pool, 0, head);
  torch::stable::fill_(tail, -std::numeric_limits<double>::infinity());
  tail = rows_in(pool, 0, a.tail);
  const Tensor scores = matrix_in(pool, head, kProbes, kDistractors);
  for (int64_t j = 0; j < distractors; j += kDistractors) {
    const int64_t columns = std::min(kDistractors, distractors - j);
    const Tensor rows = rows_in(a.distractors, j, columns);
    const Tensor block = with_zero_rows(mixed ? as_float(rows) : rows, kDistractors);
    for (int64_t i = 0; i < probes; i += kProbes) {
      const cuda::ScoreBlock part{i,
                                  std::min(kProbes, probes - i),
                                  columns,
                                  kProbes,
                                  kDistractors,
                                  scores.mutable_data_ptr<float>()};
      gemm(rows_in(padded, i, kProbes), transposed(block), scores);
      cuda::launch_count_ranks(problem, part, stream);
      if (a.tail == 0) continue;
      cuda::launch_mask_padding(part, stream);
      torch::stable::copy_(tail, highest(pool, a.tail, false));
    }
  }
  return {ranks, highest(tail, a.tail, true)};
}

std::tuple<Tensor, Tensor> ranks_on_cpu(const RankArguments& a) {
  const int64_t trials = a.scores.numel();
  const Tensor ranks = empty(a.probes, {trials}, ScalarType::Long);
  const Tensor tail_scores = empty(a.probes, {a.tail}, ScalarType::Float);
  const int64_t invalid_row =
      distractor_ranks({a.probes.size(0), a.distractors.size(0), trials, a.tail,
                        view_of("probes", a.probes), view_of("distractors", a.distractors),
                        a.probe_index.const_data_ptr<int64_t>(), a.scores.const_data_ptr<float>(),
                        ranks.mutable_data_ptr<int64_t>(), tail_scores.mutable_data_ptr<float>()},
                       torch_threads());
  check(invalid_row < 0, "distractors", kExpectedFinite, invalid_row);
  return {ranks, tail_scores};
}

std::tuple<Tensor, Tensor> distractor_ranks_op(const Tensor& probes, const Tensor& distractors,
                                               const Tensor& probe_index, const Tensor& scores,
                                               int64_t tail) {
  const Tensor probe_rows = with_unit_columns("probes", probes);
  const Tensor distractor_rows = with_unit_columns("distractors", distractors);
  check_shape("distractors", distractor_rows, distractor_rows.size(0), probe_rows.size(1));
  const int64_t pairs = probe_rows.size(0) * distractor_rows.size(0);
  check(tail >= 0 && tail <= pairs, "tail: expected 0 to ", pairs, ", got ", tail);
  check_shape("probe_index", probe_index, probe_index.numel());
  check_shape("scores", scores, probe_index.numel());
  check_device("distractors", distractors, probes);
  check_device("probe_index", probe_index, probes);
  check_device("scores", scores, probes);
  const RankArguments arguments{probe_rows, distractor_rows,
                                indices("probe_index", probe_index, 0, probe_rows.size(0)),
                                contiguous_floats("scores", scores), tail};
  for (int64_t t = 0; t < scores.numel() && readable(scores); ++t) {
    check(!std::isnan(arguments.scores.const_data_ptr<float>()[t]),
          "scores: expected numbers, got NaN at position ", t);
  }
  check_finite("probes", probe_rows);
  if constexpr (kHasCuda) {
    if (on_cuda(probes)) return ranks_on_cuda(arguments);
  }
  return ranks_on_cpu(arguments);
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "distractor_ranks(Tensor probes, Tensor distractors, Tensor probe_index, Tensor scores, "
      "int tail) -> (Tensor ranks, Tensor tail_scores)");
}

FAIRLOSS_IMPL(m) { m.impl("distractor_ranks", TORCH_BOX(&distractor_ranks_op)); }

}  // namespace fairloss::ops
