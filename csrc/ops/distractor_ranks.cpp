#include "../cpu/distractor_ranks.h"

#include <cmath>
#include <vector>

#include "tensors.h"

namespace fairloss::ops {

std::tuple<Tensor, Tensor> distractor_ranks_op(const Tensor& probes, const Tensor& distractors,
                                               const Tensor& probe_index, const Tensor& scores,
                                               int64_t tail) {
  const Tensor probe_rows = with_unit_columns("probes", probes);
  const Tensor distractor_rows = with_unit_columns("distractors", distractors);
  check(probe_rows.size(1) == distractor_rows.size(1), "probes have ", probe_rows.size(1),
        " columns but distractors have ", distractor_rows.size(1));
  const int64_t pairs = probe_rows.size(0) * distractor_rows.size(0);
  check(tail >= 0 && tail <= pairs, "tail: expected 0 to ", pairs,
        " (all pairs of a probe and a distractor), got ", tail);
  check_shape("probe_index", probe_index, probe_index.numel());
  check_shape("scores", scores, probe_index.numel());
  const Tensor trial_probes = indices("probe_index", probe_index, 0, probe_rows.size(0));
  const Tensor trial_scores = contiguous_floats("scores", scores);
  for (int64_t t = 0; t < trial_scores.numel(); ++t) {
    check(!std::isnan(trial_scores.const_data_ptr<float>()[t]), "scores: NaN at position ", t);
  }
  const Rows rows = rows_of("probes", probe_rows);
  std::vector<float> row(rows.columns);
  for (int64_t i = 0; i < probe_rows.size(0); ++i) {
    rows.load(i, row.data());
    for (float value : row)
      check(std::isfinite(value), "probes: row ", i, " holds NaN or infinity");
  }
  const Tensor ranks = empty(probes, {trial_scores.numel()}, ScalarType::Long);
  const Tensor tail_scores = empty(probes, {tail}, ScalarType::Float);
  const int64_t spoilt = distractor_ranks(
      {probe_rows.size(0), distractor_rows.size(0), trial_scores.numel(), tail,
       rows_of("probes", probe_rows), rows_of("distractors", distractor_rows),
       trial_probes.const_data_ptr<int64_t>(), trial_scores.const_data_ptr<float>(),
       ranks.mutable_data_ptr<int64_t>(), tail_scores.mutable_data_ptr<float>()},
      torch_threads());
  check(spoilt < 0, "distractors: row ", spoilt, " holds NaN or infinity");
  return {ranks, tail_scores};
}

STABLE_TORCH_LIBRARY_FRAGMENT(fairloss, m) {
  m.def(
      "distractor_ranks(Tensor probes, Tensor distractors, Tensor probe_index, Tensor scores, "
      "int tail) -> (Tensor ranks, Tensor tail_scores)");
}

STABLE_TORCH_LIBRARY_IMPL(fairloss, CPU, m) {
  m.impl("distractor_ranks", TORCH_BOX(&distractor_ranks_op));
}

}  // namespace fairloss::ops
