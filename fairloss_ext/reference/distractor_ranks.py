"""`fairloss_ext.distractor_ranks` in plain torch."""

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._arguments import as_integers, as_matrix
from fairloss_ext._checks import check_range, check_shape, expect
from fairloss_ext.numerics import full_precision

CHUNK = 4096  # distractors at a time


def distractor_ranks(
    probes: Tensor | npt.ArrayLike,  # (P, D)
    distractors: Tensor | npt.ArrayLike,  # (M, D)
    probe_index: Tensor | npt.ArrayLike,  # (T,)
    scores: Tensor | npt.ArrayLike,  # (T,)
    tail: int = 0,
) -> tuple[Tensor, Tensor]:
    """See `fairloss_ext.distractor_ranks`."""
    probe_rows = as_matrix("probes", probes).float()
    distractor_rows = as_matrix("distractors", distractors)
    index = as_integers("probe_index", probe_index)
    thresholds = torch.as_tensor(scores).detach().float()
    check_shape("distractors", distractor_rows, len(distractor_rows), probe_rows.shape[1])
    pairs = len(probe_rows) * len(distractor_rows)
    expect(0 <= tail <= pairs, "tail", f"0 to {pairs}", tail)
    check_shape("probe_index", index, index.numel())
    check_shape("scores", thresholds, len(index))
    check_range("probe_index", index, 0, len(probe_rows))
    if (nan := thresholds.isnan()).any():
        expect(False, "scores", "numbers", f"NaN at position {int(nan.nonzero()[0])}")
    _check_finite("probes", probe_rows)
    ranks = torch.zeros_like(index)
    highest = probe_rows.new_empty(0)
    for first in range(0, len(distractor_rows), CHUNK):
        block = distractor_rows[first : first + CHUNK].float()
        _check_finite("distractors", block, first)
        with full_precision(probe_rows.device):
            similarity = probe_rows @ block.T  # (P, chunk)
        for probe in torch.unique(index).tolist():
            trials = index == probe
            ranks[trials] += (similarity[probe] > thresholds[trials, None]).sum(dim=1)
        pool = torch.cat([highest, similarity.flatten()])
        highest = pool.topk(min(tail, len(pool))).values
    return ranks, highest


def _check_finite(name: str, rows: Tensor, first: int = 0) -> None:
    """Raise ValueError naming the first row that is not finite; `first` numbers rows[0]."""
    finite = rows.isfinite().all(dim=1)
    if not finite.all():
        row = first + int((~finite).nonzero()[0])
        expect(False, name, "finite rows", f"NaN or infinity in row {row}")
