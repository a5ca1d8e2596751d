"""The margin and the loss: work of size B on top of `cosine_partition`."""

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
    """Per-sample loss ``softplus(negative_logsumexp - scale * phi(target_cosine; margin))``.

    This equals the cross-entropy of logits whose target is ``scale * phi`` and is exact where the
    target's probability reaches 1. Margins are read here: changing the table afterwards does not
    change the gradient. Arguments are those of `fairloss_ext.margin_softmax_loss`; `target_cosine`
    and `negative_logsumexp` are float32 or float64.

    Returns:
        (B,) losses; 0 where the label is -1.
    """
    choice("extension", extension, EXTENSIONS)
    choice("margin_grad", margin_grad, MARGIN_GRADS)
    labels = as_labels(labels)
    dtype, device = target_cosine.dtype, target_cosine.device
    table = margin_table(margins, groups, sample_margins, kind, dtype, device)
    scale = as_scale(scale, dtype, device)
    if not _library.serves(target_cosine):
        return reference.margin_loss(
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
    losses: Tensor = torch.ops.fairloss.margin_loss(
        target_cosine,
        negative_logsumexp,
        labels,
        table.values,
        table.groups,
        scale,
        ROWS.index(table.rows),
        KINDS.index(table.kind),
        EXTENSIONS.index(extension),
        margin_grad == "straight_through",
    )[0]
    return losses


def _fake(
    target_cosine: Tensor,
    negative_logsumexp: Tensor,
    labels: Tensor,
    margins: Tensor,
    groups: Tensor | None,
    scale: Tensor,
    rows: int,
    kind: int,
    extension: int,
    straight_through: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    torch._check(
        target_cosine.shape == negative_logsumexp.shape == labels.shape,
        lambda: "target_cosine, negative_logsumexp and labels: expected one shape (B,)",
    )
    batch = target_cosine.shape[0]
    columns = margins.shape[1] if margins.dim() == 2 else 1
    return (
        target_cosine.new_empty((batch,)),
        target_cosine.new_empty((3 + columns, batch)),
        labels.new_empty((batch,)),
    )


def _fake_backward(
    grad_loss: Tensor, derivatives: Tensor, margin_rows: Tensor, num_rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(grad_loss, memory_format=torch.contiguous_format),
        torch.empty_like(grad_loss, memory_format=torch.contiguous_format),
        grad_loss.new_empty((num_rows, derivatives.shape[0] - 3)),
        grad_loss.new_empty(()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, derivatives, margin_rows = output
    ctx.mark_non_differentiable(derivatives, margin_rows)
    ctx.save_for_backward(derivatives, margin_rows)
    ctx.margins_shape = inputs[3].shape


def _backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    derivatives, margin_rows = ctx.saved_tensors
    grad_target, grad_nlse, grad_margins, grad_scale = torch.ops.fairloss.margin_loss_backward(
        grad_loss, derivatives, margin_rows, ctx.margins_shape[0]
    )
    return (
        grad_target,
        grad_nlse,
        None,
        grad_margins.reshape(ctx.margins_shape),
        None,
        grad_scale,
        None,
        None,
        None,
        None,
    )


_library.register("margin_loss", _fake, _backward, _setup_context)
_library.register("margin_loss_backward", _fake_backward)
