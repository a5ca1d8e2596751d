"""`fairloss_ext.margin_loss` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss_ext._arguments import (
    Margins,
    as_labels,
    as_scale,
    check_shape,
    margin_table,
)
from fairloss_ext.options import Extension, Kind, MarginGrad
from fairloss_ext.reference._transform import sample_margins as gather_margins
from fairloss_ext.reference._transform import target_transform


def margin_loss(
    target_cosine: Tensor,  # (B,)
    negative_logsumexp: Tensor,  # (B,)
    labels: Tensor,  # (B,)
    margins: Margins | None,
    groups: Tensor | None = None,  # (C,)
    *,
    kind: Kind = "arc",
    scale: Tensor | float = 64.0,
    extension: Extension = "linear",
    margin_grad: MarginGrad = "exact",
    sample_margins: Tensor | None = None,
) -> Tensor:
    """See `fairloss_ext.margin_loss`."""
    labels = as_labels(labels)
    check_shape("negative_logsumexp", negative_logsumexp, len(target_cosine))
    check_shape("labels", labels, len(target_cosine))
    dtype, device = target_cosine.dtype, target_cosine.device
    table = margin_table(margins, groups, sample_margins, kind, target_cosine)
    # A spoilt sample (NaN) keeps its own gradient, and spoils no shared one.
    sound = ~(target_cosine.isnan() | negative_logsumexp.isnan())
    m1, m2, m3 = (torch.where(sound, m, m.detach()) for m in gather_margins(table, labels))
    scale = as_scale(scale, dtype, device)
    phi = target_transform(target_cosine, (m1, m2, m3), extension, margin_grad)
    gap = negative_logsumexp - torch.where(sound, scale, scale.detach()) * phi
    counts = (labels >= 0) & ~torch.isneginf(negative_logsumexp)
    gap = torch.where(counts, gap, 0)  # no gradient through what is masked below
    # softplus(x) with torch's threshold would drop log1p(exp(-x)) above it
    return torch.where(counts, F.relu(gap) + torch.log1p(torch.exp(-gap.abs())), 0)
