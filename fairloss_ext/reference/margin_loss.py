"""`fairloss_ext.margin_loss` in plain torch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss_ext._arguments import MarginArguments, Numbers, as_scale, margin_arguments
from fairloss_ext._checks import check_shape, expect
from fairloss_ext.options import Extension, Kind, MarginGrad
from fairloss_ext.reference.target_transform import margins_of_samples, target_transform


def margin_loss(
    target_cosine: Tensor,  # (B,)
    negative_logsumexp: Tensor,  # (B,)
    labels: Tensor,  # (B,)
    margins: Numbers | None,
    groups: Tensor | None = None,  # (C,)
    *,
    kind: Kind = "arc",
    scale: Tensor | float = 64.0,
    extension: Extension = "linear",
    margin_grad: MarginGrad = "exact",
    sample_margins: Tensor | None = None,
) -> Tensor:
    """See `fairloss_ext.margin_loss`."""
    arguments = margin_arguments(
        labels,
        margins,
        groups,
        sample_margins,
        as_scale(scale, target_cosine.dtype, target_cosine.device),
        kind=kind,
        extension=extension,
        margin_grad=margin_grad,
    )
    return target_losses(target_cosine, negative_logsumexp, arguments)


def target_losses(
    target_cosine: Tensor,  # (B,)
    negative_logsumexp: Tensor,  # (B,)
    arguments: MarginArguments,
) -> Tensor:
    """Compute `margin_loss` from normalized arguments."""
    check_shape("target_cosine", target_cosine, target_cosine.numel())
    check_shape("negative_logsumexp", negative_logsumexp, len(target_cosine))
    check_shape("labels", arguments.labels, len(target_cosine))
    expect(
        negative_logsumexp.dtype == target_cosine.dtype,
        "negative_logsumexp",
        f"dtype {str(target_cosine.dtype).removeprefix('torch.')}",
        negative_logsumexp.dtype,
    )
    expect(
        target_cosine.dtype in (torch.float32, torch.float64),
        "target_cosine",
        "dtype float32 or float64",
        target_cosine.dtype,
    )
    # NaN stays with its own sample: it reaches neither the margins' gradient nor the scale's.
    valid = ~(target_cosine.isnan() | negative_logsumexp.isnan())
    m1, m2, m3 = (
        torch.where(valid, margin, margin.detach()) for margin in margins_of_samples(arguments)
    )
    scale = torch.where(valid, arguments.scale, arguments.scale.detach())
    phi = target_transform(target_cosine, (m1, m2, m3), arguments.extension, arguments.margin_grad)
    gap = negative_logsumexp - scale * phi
    counts = (arguments.labels >= 0) & ~torch.isneginf(negative_logsumexp)
    gap = torch.where(counts, gap, 0)  # no gradient through what is masked below
    # softplus(x) with torch's threshold would drop log1p(exp(-x)) above it
    return torch.where(counts, F.relu(gap) + torch.log1p(torch.exp(-gap.abs())), 0)
