"""`fairloss_ext.distractor_ranks` in plain torch."""

from __future__ import annotations

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._arguments import as_matrix, check_range, check_shape
from fairloss_ext.reference.cosine_partition import full_precision

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
    index = torch.as_tensor(probe_index).to(torch.int64)
    wanted = torch.as_tensor(scores).detach().float()
    if wanted.isnan().any():
        raise RuntimeError("scores: holds NaN")
    check_range("probe_index", index, 0, len(probe_rows))
    check_shape("scores", wanted, len(index))
    if not probe_rows.isfinite().all():
        at = int((~probe_rows.isfinite()).any(dim=1).nonzero()[0])
        raise RuntimeError(f"probes: row {at} holds NaN or infinity")
    pairs = len(probe_rows) * len(distractor_rows)
    if not 0 <= tail <= pairs:
        raise RuntimeError(f"tail: expected 0 to {pairs}, got {tail}")
    ranks = torch.zeros_like(index)
    highest = probe_rows.new_empty(0)
    for first in range(0, len(distractor_rows), CHUNK):
        block = distractor_rows[first : first + CHUNK].float()
        if not block.isfinite().all():
            at = first + int((~block.isfinite()).any(dim=1).nonzero()[0])
            raise RuntimeError(f"distractors: row {at} holds NaN or infinity")
        with full_precision(probe_rows.device):
            similarity = probe_rows @ block.T  # (P, chunk)
        for probe in torch.unique(index).tolist():
            trials = index == probe
            ranks[trials] += (similarity[probe] > wanted[trials, None]).sum(dim=1)
        pool = torch.cat([highest, similarity.flatten()])
        highest = pool.topk(min(tail, len(pool))).values
    return ranks, highest
