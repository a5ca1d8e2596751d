"""Numerics that all losses written in plain torch share."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from fairloss_ext.options import Reduction

SHORTEST_NORM = 1e-12  # as kShortestNorm in csrc/include/fairloss/norm.h
# Determined at import: torch 2.11 cannot trace the query.
AUTOCAST_DEVICES = tuple(
    device for device in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(device)
)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast.

    Autocast would round cosines to 16 bits: at scale 64 an error of 13% in a probability.
    """
    return (
        torch.autocast(device.type, enabled=False)
        if device.type in AUTOCAST_DEVICES
        else nullcontext()
    )


def unit_rows(rows: Tensor) -> Tensor:
    """Divide each row of (N, D) by its norm; a row without direction becomes 0, with gradient 0."""
    norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    directed = ~(norm < SHORTEST_NORM)
    return torch.where(directed, rows / torch.where(directed, norm, 1), 0).to(rows.dtype)


def reduce_losses(losses: Tensor, labels: Tensor, reduction: Reduction) -> Tensor:
    """Reduce (B,) losses to a scalar; ignored samples (label -1) do not count in the mean."""
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / (labels >= 0).sum().clamp(min=1)
