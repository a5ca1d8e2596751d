"""`fairloss_ext.margin_softmax_loss` in plain torch."""

import torch
from torch import Tensor

from fairloss_ext._arguments import Numbers, as_labels, margin_arguments, partition_arguments
from fairloss_ext._checks import check_choice
from fairloss_ext.numerics import reduce_losses
from fairloss_ext.options import REDUCTIONS, Extension, Kind, MarginGrad, Reduction, Workspace
from fairloss_ext.reference.cosine_partition import partition
from fairloss_ext.reference.margin_loss import target_losses


def margin_softmax_loss(
    embeddings: Tensor,  # (B, D)
    weight: Tensor,  # (C, D)
    labels: Tensor,  # (B,)
    margins: Numbers | None,
    groups: Tensor | None = None,  # (C,)
    *,
    kind: Kind = "arc",
    scale: Tensor | float = 64.0,
    extension: Extension = "linear",
    margin_grad: MarginGrad = "exact",
    sample_margins: Tensor | None = None,
    reduction: Reduction = "mean",
    ignore_index: int = -1,
    workspace: Workspace = "auto",
    compute_dtype: torch.dtype = torch.float32,
) -> Tensor:
    """See `fairloss_ext.margin_softmax_loss`."""
    check_choice("reduction", reduction, REDUCTIONS)
    labels = as_labels(labels, ignore_index)
    cosines = partition_arguments(embeddings, weight, labels, scale, compute_dtype)
    target = margin_arguments(
        labels,
        margins,
        groups,
        sample_margins,
        cosines.scale,
        kind=kind,
        extension=extension,
        margin_grad=margin_grad,
        num_classes=len(weight),
    )
    losses = target_losses(*partition(cosines), target)
    return reduce_losses(losses, labels, reduction)
