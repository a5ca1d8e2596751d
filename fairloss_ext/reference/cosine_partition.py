"""`fairloss_ext.cosine_partition` in plain torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fairloss_ext._arguments import as_labels, as_scale, check_range, check_shape
from fairloss_ext.options import COMPUTE_DTYPES, choice

SHORTEST_NORM = 1e-12  # as kShortestNorm in csrc/cpu/rows.h
# Asked here: torch 2.11 cannot trace the question.
AUTOCAST_DEVICES = tuple(
    device for device in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(device)
)


def cosine_partition(
    embeddings: Tensor,  # (B, D)
    weight: Tensor,  # (C, D)
    labels: Tensor,  # (B,)
    scale: Tensor | float = 64.0,
    *,
    hard_threshold: Tensor | None = None,  # (B,)
    hard_coefficients: Tensor | Sequence[float] | None = None,  # (3,)
    workspace: int | str = "auto",
    compute_dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """See `fairloss_ext.cosine_partition`; float64 inputs are computed in float64."""
    labels = as_labels(labels)
    choice("compute_dtype", compute_dtype, COMPUTE_DTYPES)
    check_shape("labels", labels, len(embeddings))
    check_range("labels", labels, -1, weight.shape[0])
    both_double = embeddings.dtype == weight.dtype == torch.float64
    dtype = torch.float64 if both_double else torch.float32
    scale = as_scale(scale, dtype, embeddings.device)
    sound = embeddings.isfinite().all(dim=1)  # (B,)
    clean = torch.where(sound[:, None], embeddings, 0).to(dtype)
    with full_precision(embeddings.device):
        cosine = (
            rounded(unit(clean), compute_dtype) @ rounded(unit(weight.to(dtype)), compute_dtype).T
        )  # (B, C)

    is_target = labels[:, None] == torch.arange(weight.shape[0], device=labels.device)
    target_cosine = torch.where(is_target, cosine, 0).sum(dim=1)
    logits = scale * _curved(cosine, hard_threshold, hard_coefficients)
    has_negatives = ~is_target.all(dim=1)
    logits = logits.masked_fill(is_target & has_negatives[:, None], -math.inf)
    negative_logsumexp = torch.where(has_negatives, logits.logsumexp(dim=1), -math.inf)
    # A spoilt sample spoils its own numbers and gradient: zero times NaN, added to nobody else.
    spoilt = (~sound & (labels >= 0))[:, None]
    nothing = (torch.where(spoilt, embeddings, 0).to(dtype) * torch.where(spoilt, math.nan, 0)).sum(
        1
    )
    return (
        torch.where(sound, target_cosine, 0) + nothing,
        torch.where(
            has_negatives, torch.where(sound, negative_logsumexp, math.nan) + nothing, -math.inf
        ),
    )


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast would round cosines to 16 bits: at scale 64 an error of 13% in a probability."""
    if device.type not in AUTOCAST_DEVICES:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; a row without direction becomes 0, with gradient 0."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    directed = ~(norm < SHORTEST_NORM)
    return torch.where(directed, rows / torch.where(directed, norm, 1), 0).to(rows.dtype)


def rounded(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest values of a lower precision, with the gradient of the identity."""
    if dtype == torch.float32:
        return rows
    return rows + (rows.to(dtype).to(rows.dtype) - rows).detach()


def _curved(
    cosine: Tensor, threshold: Tensor | None, coefficients: Tensor | Sequence[float] | None
) -> Tensor:
    if threshold is None or coefficients is None:
        return cosine
    a, b, d = (float(x) for x in coefficients)
    return torch.where(cosine > threshold.detach()[:, None], (a * cosine + b) * cosine + d, cosine)
