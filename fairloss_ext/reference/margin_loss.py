"""`fairloss_ext.margin_loss` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss_ext._arguments import (
    Extension,
    Kind,
    MarginGrad,
    Margins,
    as_labels,
    as_scale,
    margin_table,
)
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
    dtype, device = target_cosine.dtype, target_cosine.device
    table = margin_table(margins, groups, sample_margins, kind, dtype, device)
    phi = target_transform(target_cosine, gather_margins(table, labels), extension, margin_grad)
    gap = negative_logsumexp - as_scale(scale, dtype, device) * phi
    counts = (labels >= 0) & ~torch.isneginf(negative_logsumexp)
    gap = torch.where(counts, gap, 0)  # no gradient through what is masked below
    # softplus(x) with torch's threshold would drop log1p(exp(-x)) above it
    return torch.where(counts, F.relu(gap) + torch.log1p(torch.exp(-gap.abs())), 0)
