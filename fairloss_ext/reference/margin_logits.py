"""`fairloss_ext.margin_logits` in plain torch."""

import torch
from torch import Tensor

from fairloss_ext._arguments import MarginArguments, Numbers, as_cosines, as_scale, margin_arguments
from fairloss_ext._checks import check_shape
from fairloss_ext.options import Extension, Kind, MarginGrad
from fairloss_ext.reference.target_transform import margins_of_samples, target_transform


def margin_logits(
    cosine: Tensor,  # (B, C)
    labels: Tensor,  # (B,)
    margins: Numbers | None,
    groups: Tensor | None = None,  # (C,)
    *,
    kind: Kind = "arc",
    scale: Tensor | float = 64.0,
    extension: Extension = "linear",
    margin_grad: MarginGrad = "exact",
) -> Tensor:
    """See `fairloss_ext.margin_logits`."""
    cosine = as_cosines(cosine)
    arguments = margin_arguments(
        labels,
        margins,
        groups,
        None,
        as_scale(scale, cosine.dtype, cosine.device),
        kind=kind,
        extension=extension,
        margin_grad=margin_grad,
        num_classes=cosine.shape[1],
    )
    return logits(cosine, arguments)


def logits(
    cosine: Tensor,  # (B, C)
    arguments: MarginArguments,
) -> Tensor:
    """Compute `margin_logits` from normalized arguments."""
    labels = arguments.labels
    check_shape("labels", labels, len(cosine))
    margins = margins_of_samples(arguments)
    target_cosine = cosine.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
    phi = target_transform(target_cosine, margins, arguments.extension, arguments.margin_grad)
    is_target = labels[:, None] == torch.arange(cosine.shape[1], device=labels.device)
    return arguments.scale * torch.where(is_target, phi[:, None], cosine)
