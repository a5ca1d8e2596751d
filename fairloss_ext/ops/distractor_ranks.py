"""Ranks among distractors, and the highest impostor scores, in one pass."""

from __future__ import annotations

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import as_matrix


def distractor_ranks(
    probes: Tensor | npt.ArrayLike,  # (P, D)
    distractors: Tensor | npt.ArrayLike,  # (M, D)
    probe_index: Tensor | npt.ArrayLike,  # (T,)
    scores: Tensor | npt.ArrayLike,  # (T,)
    tail: int = 0,
) -> tuple[Tensor, Tensor]:
    """How many distractors are strictly more similar to a probe than the scores of its trials.

    Similarity is the inner product, so pass unit embeddings for cosines. Distractors are read once,
    in order: a memory map need not fit in memory, and no (P, M) matrix is built. Over shards of the
    distractors ranks add up.

    Args:
        probes: (P, D) float32, bfloat16 or float16.
        distractors: (M, D), the same dtypes; tensor, array or memory map. Those of a host reach
            probes on a GPU a block at a time.
        probe_index: (T,) integers, the probe of each trial.
        scores: (T,) float32, the similarity of each trial's genuine pair.
        tail: how many of the highest of all P M similarities to return.

    On a GPU similarities are as exact as torch's products: leave TF32 off (docs/kernels.md).

    Returns:
        ranks (T,) int64, 0 = no distractor is more similar; and the tail (tail,) float32,
        descending.

    Raises:
        ValueError or RuntimeError naming the argument; NaN in `scores` or `distractors`. On a GPU
        values cannot be looked at without waiting: there the rank is -1 of a trial whose probe is
        out of range, or whose score or any similarity is NaN, and NaN comes first in the tail.
    """
    probe_rows = as_matrix("probes", probes)
    distractor_rows = as_matrix("distractors", distractors)
    device = probe_rows.device
    trial_probes = torch.as_tensor(probe_index).to(device, torch.int64)
    trial_scores = torch.as_tensor(scores).detach().to(device, torch.float32)
    if distractor_rows.device != device:
        return in_blocks(probe_rows, distractor_rows, trial_probes, trial_scores, tail)
    if not _library.serves("distractor_ranks", probe_rows):
        return reference.distractor_ranks(
            probe_rows, distractor_rows, trial_probes, trial_scores, tail
        )
    ranks, tail_scores = _library.call(
        "distractor_ranks", probe_rows, distractor_rows, trial_probes, trial_scores, tail
    )
    return ranks, tail_scores


def in_blocks(
    probes: Tensor,  # (P, D)
    distractors: Tensor,  # (M, D)
    probe_index: Tensor,  # (T,)
    scores: Tensor,  # (T,)
    tail: int,
    block: int = 1 << 17,  # rows; 256 MiB of 512 floats
) -> tuple[Tensor, Tensor]:
    """The same, with a block of distractors at a time on the device of the probes."""
    pairs = len(probes) * len(distractors)
    if not 0 <= tail <= pairs:
        raise ValueError(f"tail: expected 0 to {pairs}, got {tail}")
    ranks = torch.zeros_like(probe_index)
    spoilt = torch.zeros_like(probe_index, dtype=torch.bool)
    highest = scores.new_empty(0)
    for start in range(0, max(1, len(distractors)), block):
        rows = distractors[start : start + block].to(probes.device)
        wanted = min(tail, len(probes) * len(rows))
        more, tail_scores = distractor_ranks(probes, rows, probe_index, scores, wanted)
        ranks += more
        spoilt |= more < 0
        both = torch.cat([highest, tail_scores])
        highest = both.topk(min(tail, len(both))).values  # NaN counts as the highest
    return ranks.masked_fill(spoilt, -1), highest


def _fake(
    probes: Tensor, distractors: Tensor, probe_index: Tensor, scores: Tensor, tail: int
) -> tuple[Tensor, Tensor]:
    return (
        probe_index.new_empty(probe_index.shape),
        scores.new_empty((tail,)),
    )


_library.register("distractor_ranks", _fake)
