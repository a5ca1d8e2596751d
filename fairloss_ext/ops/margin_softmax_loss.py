"""The drop-in loss: `cosine_partition`, then `margin_loss`."""

import torch
from torch import Tensor

from fairloss_ext._arguments import Numbers, as_labels, margin_arguments, partition_arguments
from fairloss_ext._checks import check_choice
from fairloss_ext.numerics import reduce_losses
from fairloss_ext.ops.cosine_partition import partition
from fairloss_ext.ops.margin_loss import target_losses
from fairloss_ext.options import REDUCTIONS, Extension, Kind, MarginGrad, Reduction, Workspace


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
    compute_dtype: torch.dtype | None = None,
    fused: bool = False,
    validate: bool = False,
) -> Tensor:
    """Softmax cross-entropy over class cosines, with a margin on the target.

    ``loss_i = -log( e^{s phi_i} / (e^{s phi_i} + sum_{j != y_i} e^{s cos_ij}) )`` with
    ``phi = cos(m1 theta + m2) - m3`` of the target's angle theta (Fair Loss, Liu et al., ICCV
    2019; ArcFace, CosFace and SphereFace are the cases of one constant margin). Neither normalized
    weights nor, beyond `workspace`, a (B, C) matrix are stored.

    Args:
        embeddings: (B, D) float32, bfloat16 or float16, raw (not normalized).
        weight: (C, D), raw; any of the three dtypes. For float64 see
            `fairloss_ext.cosine_partition`.
        labels: (B,) or (B, 1) integers of any dtype; -1 marks a sample to ignore.
        margins: a number for all, a (C,) tensor with one margin a class, or a (G,) tensor with
            `groups`. A trailing dimension of 3 gives (m1, m2, m3). Differentiable. With embeddings
            on a GPU keep margins, groups and a tensor of scale there too: others are copied in each
            call, which synchronizes the GPU.
        groups: (C,) integers, the row of `margins` that each class uses.
        kind: what a plain margin fills: "arc" m2 (radians), "cos" m3 (cosine), "sphere" m1
            (factor on the angle); "combined" takes all three.
        scale: a number or a 0-d tensor; differentiable.
        extension: beyond ``m1 theta + m2 = pi``, "linear" continues downwards
            (``cos theta - m2 sin m2`` as in ArcFace; SphereFace's
            ``(-1)^k cos(m1 theta + m2) - 2k`` where m1 differs from 1), "none" leaves the cosine
            to rise again, "easy" applies no margin at all where ``cos theta <= 0``.
        margin_grad: "exact", or "straight_through" for insightface's gradient, which treats
            ``d phi / d cos theta`` as 1. The forward value is the same.
        sample_margins: (B,) or (B, 3) margins of the samples, in place of `margins`.
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
        ignore_index: another label that marks a sample to ignore.
        workspace: as in `fairloss_ext.cosine_partition`.
        compute_dtype: as there.
        fused: as there.
        validate: as there, for labels and groups.

    Returns:
        float32 or float64 scalar, or (B,) with reduction "none".

    Raises:
        ValueError: a shape, a dtype, a device or a value out of range; it names the argument.
    """
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
        num_classes=weight.shape[0],
        validate=validate,
    )
    losses = target_losses(*partition(cosines, workspace, fused), target)
    return reduce_losses(losses, labels, reduction)
