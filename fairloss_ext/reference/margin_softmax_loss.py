"""`fairloss_ext.margin_softmax_loss` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from fairloss_ext._arguments import Margins, margin_table, reduce
from fairloss_ext.options import REDUCTIONS, Extension, Kind, MarginGrad, Reduction, choice
from fairloss_ext.reference.cosine_partition import cosine_partition
from fairloss_ext.reference.margin_loss import margin_loss


def margin_softmax_loss(
    embeddings: Tensor,  # (B, D)
    weight: Tensor,  # (C, D)
    labels: Tensor,  # (B,)
    margins: Margins | None,
    groups: Tensor | None = None,  # (C,)
    *,
    kind: Kind = "arc",
    scale: Tensor | float = 64.0,
    extension: Extension = "linear",
    margin_grad: MarginGrad = "exact",
    sample_margins: Tensor | None = None,
    reduction: Reduction = "mean",
    workspace: int | str = "auto",
    compute_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """See `fairloss_ext.margin_softmax_loss`."""
    choice("reduction", reduction, REDUCTIONS)
    margin_table(margins, groups, sample_margins, kind, weight, num_classes=weight.shape[0])
    target_cosine, negative_logsumexp = cosine_partition(
        embeddings, weight, labels, scale, compute_dtype=compute_dtype
    )
    losses = margin_loss(
        target_cosine,
        negative_logsumexp,
        labels,
        margins,
        groups,
        kind=kind,
        scale=scale,
        extension=extension,
        margin_grad=margin_grad,
        sample_margins=sample_margins,
    )
    return reduce(losses, labels, reduction)
