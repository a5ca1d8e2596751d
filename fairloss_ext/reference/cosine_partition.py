"""`fairloss_ext.cosine_partition` in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss_ext._arguments import as_labels, as_scale

SHORTEST_NORM = 1e-12  # as kShortestNorm in csrc/cpu/rows.h


def cosine_partition(
    embeddings: Tensor,  # (B, D)
    weight: Tensor,  # (C, D)
    labels: Tensor,  # (B,)
    scale: Tensor | float = 64.0,
    *,
    hard_threshold: Tensor | None = None,  # (B,)
    hard_coefficients: Tensor | Sequence[float] | None = None,  # (3,)
    workspace: int | str = "auto",
) -> tuple[Tensor, Tensor]:
    """See `fairloss_ext.cosine_partition`; float64 inputs are computed in float64."""
    labels = as_labels(labels)
    check_labels(labels, weight.shape[0])
    both_double = embeddings.dtype == weight.dtype == torch.float64
    dtype = torch.float64 if both_double else torch.float32
    scale = as_scale(scale, dtype, embeddings.device)
    sound = embeddings.isfinite().all(dim=1)  # (B,)
    clean = torch.where(sound[:, None], embeddings, 0).to(dtype)
    cosine = unit(clean) @ unit(weight.to(dtype)).T  # (B, C)

    is_target = labels[:, None] == torch.arange(weight.shape[0], device=labels.device)
    target_cosine = torch.where(is_target, cosine, 0).sum(dim=1)
    logits = scale * _curved(cosine, hard_threshold, hard_coefficients)
    has_negatives = ~is_target.all(dim=1)
    logits = logits.masked_fill(is_target & has_negatives[:, None], -math.inf)
    negative_logsumexp = torch.where(has_negatives, logits.logsumexp(dim=1), -math.inf)
    return (
        torch.where(sound, target_cosine, math.nan),
        torch.where(sound, negative_logsumexp, math.nan),
    )


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; a row without direction becomes 0, with gradient 0."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    directed = ~(norm < SHORTEST_NORM)
    return torch.where(directed, rows / torch.where(directed, norm, 1), 0).to(rows.dtype)


def check_labels(labels: Tensor, num_classes: int) -> None:
    """RuntimeError naming the first label outside [-1, num_classes)."""
    wrong = (labels < -1) | (labels >= num_classes)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise RuntimeError(
            f"labels: value {int(labels[at])} at position {at} is out of range; allowed are -1 to "
            f"{num_classes - 1}"
        )


def _curved(
    cosine: Tensor, threshold: Tensor | None, coefficients: Tensor | Sequence[float] | None
) -> Tensor:
    if threshold is None or coefficients is None:
        return cosine
    a, b, d = (float(x) for x in coefficients)
    return torch.where(cosine > threshold.detach()[:, None], (a * cosine + b) * cosine + d, cosine)
