"""The target transform phi(cos theta; m1, m2, m3) in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairloss_ext._arguments import MarginTable, check_range, check_shape
from fairloss_ext.options import EXTENSIONS, MARGIN_GRADS, Extension, Kind, MarginGrad, choice

# The derivative of acos is infinite at +-1: it is taken no closer than this, sqrt(1 - 1e-6).
STEEPEST = 0.9999995


def sample_margins(table: MarginTable, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(m1, m2, m3), each (B,), of every sample; a label of -1 reads row 0 and is masked later."""
    if table.rows == "per_sample":
        check_shape("sample_margins", table.values, len(labels), *table.values.shape[1:])
    if table.groups is not None:
        check_range("groups", table.groups, 0, len(table.values))
    check_range("labels", labels, -1, table.classes)
    if table.rows == "one":
        rows = torch.zeros_like(labels)
    elif table.rows == "per_sample":
        rows = torch.arange(len(labels), device=labels.device)
    else:
        rows = labels.clamp(min=0)
        if table.groups is not None:
            rows = table.groups[rows]
    values = table.values[rows].double()  # (B,) or (B, 3)
    if table.kind == "combined":
        return values[:, 0], values[:, 1], values[:, 2]
    one, zero = torch.ones_like(values), torch.zeros_like(values)
    choices: dict[Kind, tuple[Tensor, Tensor, Tensor]] = {
        "arc": (one, values, zero),
        "cos": (one, zero, values),
        "sphere": (values, zero, zero),
    }
    return choices[table.kind]


def target_transform(
    cosine: Tensor,  # (B,)
    margins: tuple[Tensor, Tensor, Tensor],  # (B,) each
    extension: Extension,
    margin_grad: MarginGrad,
) -> Tensor:
    """phi, (B,), of the target cosines; float64 inside, because acos is steep."""
    choice("extension", extension, EXTENSIONS)
    choice("margin_grad", margin_grad, MARGIN_GRADS)
    precise = cosine.double()
    exact = _phi(torch.acos(precise.detach().clamp(-1, 1)), margins, extension)
    slope = precise
    if margin_grad == "exact":
        away = precise + (precise.clamp(-STEEPEST, STEEPEST) - precise).detach()
        m1, m2, m3 = (margin.detach() for margin in margins)
        slope = _phi(torch.acos(away), (m1, m2, m3), extension)
    # Value and margins' gradient at the cosine itself, the cosine's gradient away from +-1.
    return (exact + (slope - slope.detach())).to(cosine.dtype)


def _phi(theta: Tensor, margins: tuple[Tensor, Tensor, Tensor], extension: Extension) -> Tensor:
    m1, m2, m3 = margins
    angle = m1 * theta + m2
    phi = torch.cos(angle)
    if extension == "easy":
        return torch.where(theta < math.pi / 2, phi - m3, torch.cos(theta))
    if extension == "linear":
        k = torch.floor(angle.detach() / math.pi)
        folded = (1 - 2 * (k % 2)) * phi - 2 * k  # SphereFace
        lowered = torch.cos(theta) - m2 * torch.sin(m2)  # ArcFace
        phi = torch.where(angle > math.pi, torch.where(m1 == 1, lowered, folded), phi)
    return phi - m3
