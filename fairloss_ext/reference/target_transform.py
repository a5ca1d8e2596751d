"""The target transform phi(cos theta; m1, m2, m3) in plain torch."""

import math

import torch
from torch import Tensor

from fairloss_ext._arguments import Layout, MarginArguments
from fairloss_ext.options import Extension, Kind, MarginGrad

# The derivative of acos is infinite at +-1: it is taken at most this close, at sqrt(1 - 1e-6).
MAX_SLOPE_COSINE = 0.9999995


def margins_of_samples(arguments: MarginArguments) -> tuple[Tensor, Tensor, Tensor]:
    """Gather float64 (m1, m2, m3), each (B,); a label of -1 reads row 0 and is masked later."""
    arguments.check_values()
    labels, values, groups = arguments.labels, arguments.values, arguments.groups
    classes = labels.clamp(min=0)
    rows: dict[Layout, Tensor] = {
        "one": torch.zeros_like(labels),
        "per_class": classes if groups is None else groups[classes],
        "per_sample": torch.arange(len(labels), device=labels.device),
    }
    margins = values[rows[arguments.layout]].double()  # (B,) or (B, 3)
    if arguments.kind == "combined":
        return margins[:, 0], margins[:, 1], margins[:, 2]
    one, zero = torch.ones_like(margins), torch.zeros_like(margins)
    triples: dict[Kind, tuple[Tensor, Tensor, Tensor]] = {
        "arc": (one, margins, zero),
        "cos": (one, zero, margins),
        "sphere": (margins, zero, zero),
    }
    return triples[arguments.kind]


def target_transform(
    cosine: Tensor,  # (B,)
    margins: tuple[Tensor, Tensor, Tensor],  # (B,) each
    extension: Extension,
    margin_grad: MarginGrad,
) -> Tensor:
    """Compute phi, (B,), in float64, because acos is steep; the result has the cosines' dtype."""
    precise = cosine.double()
    exact = _phi(torch.acos(precise.detach().clamp(-1, 1)), margins, extension)
    slope = precise
    if margin_grad == "exact":
        nearest = precise.clamp(-MAX_SLOPE_COSINE, MAX_SLOPE_COSINE)
        smooth = precise + (nearest - precise).detach()
        m1, m2, m3 = (margin.detach() for margin in margins)
        slope = _phi(torch.acos(smooth), (m1, m2, m3), extension)
    # Value and gradient of the margins at the cosine itself, its own gradient away from +-1.
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
