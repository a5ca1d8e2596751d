"""Independent float64 formulas, written from the papers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def cosines(embeddings: Tensor, weight: Tensor) -> Tensor:
    """Return the (B, C) cosines between rows."""
    return F.linear(F.normalize(embeddings.double()), F.normalize(weight.double()))


def phi(cosine: Tensor, kind: str, margin: Tensor, extension: str) -> Tensor:
    """Transform targets as printed in the papers; `margin` (B,) or (B, 3)."""
    theta = torch.acos(cosine)
    if kind == "cos":
        value = cosine - margin
    elif kind == "arc":
        value = torch.cos(theta + margin)
        if extension == "linear":
            beyond = theta + margin > math.pi
            value = torch.where(beyond, cosine - margin * torch.sin(margin), value)
    elif kind == "sphere":
        value = torch.cos(margin * theta)
        if extension == "linear":
            k = torch.floor(margin * theta / math.pi).detach()
            value = (-1) ** k * torch.cos(margin * theta) - 2 * k
    else:
        m1, m2, m3 = margin.unbind(1)
        assert extension == "none"
        value = torch.cos(m1 * theta + m2) - m3
    return torch.where(cosine > 0, value, cosine) if extension == "easy" else value


def margin_softmax_losses(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    margin: Tensor,
    *,
    kind: str,
    scale: Tensor | float,
    extension: str = "linear",
) -> Tensor:
    """Return (B,) float64 cross-entropies of margin logits; one margin a sample, 0 for label -1."""
    cosine = cosines(embeddings, weight)
    rows = torch.arange(len(labels))
    target = cosine[rows, labels.clamp(min=0)]
    logits = cosine.clone()
    logits[rows, labels.clamp(min=0)] = phi(target, kind, margin, extension)
    losses = F.cross_entropy(scale * logits, labels.clamp(min=0), reduction="none")
    return torch.where(labels >= 0, losses, 0)


def worst(a: Tensor, b: Tensor, smallest: float = 1e-6) -> float:
    """Return the largest difference relative to the larger of `smallest` and max |b|."""
    a, b = a.detach().double(), b.detach().double()
    if not torch.equal(a.isfinite(), b.isfinite()):
        return math.inf
    finite = b.isfinite()
    if not finite.any():
        return 0.0
    return float((a - b)[finite].abs().max() / b[finite].abs().max().clamp(min=smallest))
