"""Margin logits for code that already has the (B, C) matrix of cosines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import (
    EXTENSIONS,
    KINDS,
    MARGIN_GRADS,
    ROWS,
    Extension,
    Kind,
    MarginGrad,
    Margins,
    as_labels,
    as_scale,
    choice,
    margin_table,
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
) -> Tensor:
    """``scale * cosine`` with the target's entry replaced by ``scale * phi(cosine; margin)``.

    For cross-entropy loops and PartialFC-style margin callables. Arguments are those of
    `fairloss_ext.margin_softmax_loss`; a label of -1 (not on this shard) leaves its row without
    margin.

    Returns:
        (B, C) logits, float32 (float64 for float64 cosines): at scale 64, bfloat16 logits would
        carry an error of 13% in the probability.
    """
    choice("extension", extension, EXTENSIONS)
    choice("margin_grad", margin_grad, MARGIN_GRADS)
    labels = as_labels(labels)
    if cosine.dtype != torch.float64:
        cosine = cosine.float()
    table = margin_table(margins, groups, None, kind, cosine.dtype, cosine.device)
    scale = as_scale(scale, cosine.dtype, cosine.device)
    if not _library.serves(cosine):
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
    logits: Tensor = torch.ops.fairloss.margin_logits(
        cosine,
        labels,
        table.values,
        table.groups,
        scale,
        ROWS.index(table.rows),
        KINDS.index(table.kind),
        EXTENSIONS.index(extension),
        margin_grad == "straight_through",
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
        cosine.new_empty((1 + columns, cosine.shape[0])),
        labels.new_empty((cosine.shape[0],)),
    )


def _fake_backward(
    grad_logits: Tensor,
    logits: Tensor,
    derivatives: Tensor,
    margin_rows: Tensor,
    labels: Tensor,
    scale: Tensor,
    num_rows: int,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        grad_logits.new_empty(grad_logits.shape),
        grad_logits.new_empty((num_rows, derivatives.shape[0] - 1)),
        grad_logits.new_empty(()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, labels, margins, _, scale, *_ = inputs
    logits, derivatives, margin_rows = output
    ctx.mark_non_differentiable(derivatives, margin_rows)
    # Only the gradient of the scale needs the matrix; without it, it is not kept alive.
    kept = logits if scale.requires_grad else logits.new_empty((0, 0))
    ctx.save_for_backward(kept, derivatives, margin_rows, labels, scale)
    ctx.margins_shape = margins.shape


def _backward(ctx: Any, grad_logits: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad_cosine, grad_margins, grad_scale = torch.ops.fairloss.margin_logits_backward(
        grad_logits, *ctx.saved_tensors, ctx.margins_shape[0]
    )
    return (
        grad_cosine,
        None,
        grad_margins.reshape(ctx.margins_shape),
        None,
        grad_scale,
        None,
        None,
        None,
        None,
    )


_library.register("margin_logits", _fake, _backward, _setup_context)
_library.register("margin_logits_backward", _fake_backward)
