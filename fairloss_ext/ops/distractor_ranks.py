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
        distractors: (M, D), the same dtypes; tensor, array or memory map.
        probe_index: (T,) integers, the probe of each trial.
        scores: (T,) float32, the similarity of each trial's genuine pair.
        tail: how many of the highest of all P M similarities to return.

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
    trial_probes = torch.as_tensor(probe_index).to(torch.int64)
    trial_scores = torch.as_tensor(scores).detach().float()
    if not _library.serves("distractor_ranks", probe_rows):
        return reference.distractor_ranks(
            probe_rows, distractor_rows, trial_probes, trial_scores, tail
        )
    ranks, tail_scores = torch.ops.fairloss.distractor_ranks(
        probe_rows, distractor_rows, trial_probes, trial_scores, tail
    )
    return ranks, tail_scores


def _fake(
    probes: Tensor, distractors: Tensor, probe_index: Tensor, scores: Tensor, tail: int
) -> tuple[Tensor, Tensor]:
    return (
        probe_index.new_empty(probe_index.shape),
        scores.new_empty((tail,)),
    )


_library.register("distractor_ranks", _fake)
