"""Margin logits for code that already has the (B, C) matrix of cosines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import (
    ROWS,
    Margins,
    as_labels,
    as_scale,
    check_device,
    check_now,
    keep_margins_shape,
    margin_table,
)
from fairloss_ext.options import (
    EXTENSIONS,
    KINDS,
    MARGIN_GRADS,
    Extension,
    Kind,
    MarginGrad,
    choice,
)


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
    validate: bool = False,
) -> Tensor:
    """``scale * cosine`` with the target's entry replaced by ``scale * phi(cosine; margin)``.

    For cross-entropy loops and PartialFC-style margin callables. Arguments are those of
    `fairloss_ext.margin_softmax_loss`; a label of -1 (not on this shard) leaves its row without
    margin.

    Returns:
        (B, C) logits, float32 (float64 for float64 cosines): at scale 64, bfloat16 logits would
        carry an error of 13% in the probability.
    """
    labels = as_labels(labels)
    if cosine.dim() != 2:
        raise ValueError(f"cosine: expected shape (B, C), got {tuple(cosine.shape)}")
    if cosine.dtype != torch.float64:
        cosine = cosine.float()
    check_device(cosine.device, labels=labels)
    if validate:
        check_now("labels", labels, -1, cosine.shape[1])
        margin_table(margins, groups, None, kind, cosine).check_now(labels)
    if not _library.serves("margin_logits", cosine):
        return reference.margin_logits(
            cosine,
            labels,
            margins,
            groups,
            kind=kind,
            scale=scale,
            extension=extension,
            margin_grad=margin_grad,
        )
    table = margin_table(margins, groups, None, kind, cosine, num_classes=cosine.shape[1])
    logits: Tensor = _library.call(
        "margin_logits",
        cosine,
        labels,
        table.values,
        table.groups,
        as_scale(scale, cosine.dtype, cosine.device),
        ROWS.index(table.rows),
        KINDS.index(table.kind),
        choice("extension", extension, EXTENSIONS),
        bool(choice("margin_grad", margin_grad, MARGIN_GRADS)),
    )[0]
    return logits


def _fake(
    cosine: Tensor,
    labels: Tensor,
    margins: Tensor,
    groups: Tensor | None,
    scale: Tensor,
    rows: int,
    kind: int,
    extension: int,
    straight_through: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    torch._check(cosine.dim() == 2, lambda: "cosine: expected shape (B, C)")
    torch._check(labels.shape[0] == cosine.shape[0], lambda: "labels: expected shape (B,)")
    columns = margins.shape[1] if margins.dim() == 2 else 1
    return (
        cosine.new_empty(cosine.shape),
        cosine.new_empty((2 + columns, cosine.shape[0])),
        labels.new_empty((cosine.shape[0],)),
    )


def _fake_backward(
    grad_logits: Tensor,
    cosine: Tensor,
    target: Tensor,
    margin_rows: Tensor,
    labels: Tensor,
    scale: Tensor,
    num_rows: int,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = grad_logits.shape[0] if num_rows < 0 else num_rows
    return (
        grad_logits.new_empty(grad_logits.shape),
        grad_logits.new_empty((rows, target.shape[0] - 2)),
        grad_logits.new_empty(()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    cosine, labels, margins, _, scale, rows, *_ = inputs
    _, target, margin_rows = output
    # The target's row stays part of the graph, see margin_loss.
    ctx.mark_non_differentiable(margin_rows)
    # Only the gradient of the scale needs the matrix; without it, it is not kept alive.
    kept = cosine if scale.requires_grad else cosine.new_empty((0, 0))
    ctx.save_for_backward(kept, target, margin_rows, labels, scale)
    keep_margins_shape(ctx, margins=margins, rows=rows)


def _backward(ctx: Any, grad_logits: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad_cosine, grad_margins, grad_scale = _library.call(
        "margin_logits_backward", grad_logits, *ctx.saved_tensors, ctx.num_rows
    )
    return (
        grad_cosine,
        None,
        grad_margins.squeeze(1) if ctx.plain_margins else grad_margins,
        None,
        grad_scale,
        None,
        None,
        None,
        None,
    )


_library.register("margin_logits", _fake, _backward, _setup_context)
_library.register("margin_logits_backward", _fake_backward)
