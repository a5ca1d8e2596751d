"""Ranks among distractors, and the highest impostor scores, in one pass."""

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import as_integers, as_matrix
from fairloss_ext._checks import expect


def distractor_ranks(
    probes: Tensor | npt.ArrayLike,  # (P, D)
    distractors: Tensor | npt.ArrayLike,  # (M, D)
    probe_index: Tensor | npt.ArrayLike,  # (T,)
    scores: Tensor | npt.ArrayLike,  # (T,)
    tail: int = 0,
) -> tuple[Tensor, Tensor]:
    """Count the distractors that are strictly more similar to a probe than its trials' scores.

    Similarity is the inner product, so pass unit embeddings for cosines. Distractors are read once,
    in order: a memory map need not fit in memory, and no (P, M) matrix is built. Over shards of the
    distractors ranks add up. Similarities are rounded to float32, so a score that was computed in
    another way may lie just below that of an equal row. On a GPU similarities are as exact as
    torch's products: leave TF32 off (docs/kernels.md).

    Args:
        probes: (P, D) float32, bfloat16 or float16.
        distractors: (M, D), the same dtypes; tensor, array or memory map. Those on
            the host are copied to probes on a GPU a block at a time.
        probe_index: (T,) integers, the probe of each trial.
        scores: (T,) float32, the similarity of each trial's genuine pair.
        tail: number of the highest of all P M similarities to return.

    Returns:
        ranks (T,) int64, 0 = no distractor is more similar; and the tail (tail,) float32,
        descending.

    Raises:
        ValueError: a shape, a dtype, a probe out of range, NaN; it names the argument. On a GPU a
            check of values would synchronize: there the rank is -1 for a trial whose probe is out
            of range, or whose score or any similarity is NaN, and NaN comes first in the tail.
    """
    probe_rows = as_matrix("probes", probes)
    distractor_rows = as_matrix("distractors", distractors)
    device = probe_rows.device
    trial_probes = as_integers("probe_index", probe_index).to(device)
    trial_scores = torch.as_tensor(scores).detach().to(device, torch.float32)
    if distractor_rows.device != device:
        return ranks_by_block(probe_rows, distractor_rows, trial_probes, trial_scores, tail)
    if not _library.serves("distractor_ranks", probe_rows):
        return reference.distractor_ranks(
            probe_rows, distractor_rows, trial_probes, trial_scores, tail
        )
    ranks, tail_scores = _library.call(
        "distractor_ranks", probe_rows, distractor_rows, trial_probes, trial_scores, tail
    )
    return ranks, tail_scores


def ranks_by_block(
    probes: Tensor,  # (P, D)
    distractors: Tensor,  # (M, D)
    probe_index: Tensor,  # (T,)
    scores: Tensor,  # (T,)
    tail: int,
    block: int = 1 << 17,  # rows; 256 MiB of 512 floats
) -> tuple[Tensor, Tensor]:
    """Compute `distractor_ranks` with a block of distractors at a time on the probes' device."""
    pairs = len(probes) * len(distractors)
    expect(0 <= tail <= pairs, "tail", f"0 to {pairs}", tail)
    ranks = torch.zeros_like(probe_index)
    highest = scores.new_empty(0)
    for start in range(0, max(1, len(distractors)), block):
        rows = distractors[start : start + block].to(probes.device)
        block_tail = min(tail, len(probes) * len(rows))
        block_ranks, tail_scores = distractor_ranks(probes, rows, probe_index, scores, block_tail)
        ranks = torch.where((ranks < 0) | (block_ranks < 0), -1, ranks + block_ranks)
        both = torch.cat([highest, tail_scores])
        highest = both.topk(min(tail, len(both))).values  # NaN counts as the highest
    return ranks, highest


def _fake(
    probes: Tensor, distractors: Tensor, probe_index: Tensor, scores: Tensor, tail: int
) -> tuple[Tensor, Tensor]:
    return probe_index.new_empty(probe_index.shape), scores.new_empty((tail,))


_library.register("distractor_ranks", _fake)
