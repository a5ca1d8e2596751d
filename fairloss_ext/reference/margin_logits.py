"""`fairloss_ext.margin_logits` in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from fairloss_ext._arguments import (
    Margins,
    as_labels,
    as_scale,
    check_range,
    check_shape,
    margin_table,
)
from fairloss_ext.options import Extension, Kind, MarginGrad
from fairloss_ext.reference._transform import sample_margins, target_transform


def margin_logits(
    cosine: Tensor,  # (B, C)
    labels: Tensor,  # (B,)
    margins: Margins | None,
    groups: Tensor | None = None,  # (C,)
    *,
    kind: Kind = "arc",
    scale: Tensor | float = 64.0,
    extension: Extension = "linear",
    margin_grad: MarginGrad = "exact",
) -> Tensor:
    """See `fairloss_ext.margin_logits`."""
    labels = as_labels(labels)
    check_shape("labels", labels, len(cosine))
    check_range("labels", labels, -1, cosine.shape[1])
    if cosine.dtype != torch.float64:
        cosine = cosine.float()
    table = margin_table(margins, groups, None, kind, cosine, num_classes=cosine.shape[1])
    target = cosine.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
    phi = target_transform(target, sample_margins(table, labels), extension, margin_grad)
    is_target = labels[:, None] == torch.arange(cosine.shape[1], device=labels.device)
    transformed = torch.where(is_target, phi[:, None], cosine)
    return as_scale(scale, cosine.dtype, cosine.device) * transformed
