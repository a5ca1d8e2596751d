"""The margin and the loss: work of size B on top of `cosine_partition`."""

from typing import Any

import torch
from torch import Tensor

from fairloss_ext import _library
from fairloss_ext._arguments import (
    MarginArguments,
    Numbers,
    as_scale,
    gradient_shape,
    margin_arguments,
)
from fairloss_ext._checks import check_device
from fairloss_ext.options import Extension, Kind, MarginGrad
from fairloss_ext.reference.margin_loss import target_losses as reference_losses


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
    validate: bool = False,
) -> Tensor:
    """Compute ``softplus(negative_logsumexp - scale * phi(target_cosine; margin))``.

    Each loss equals the cross-entropy of logits whose target is ``scale * phi`` and is exact where
    the target's probability reaches 1. Margins are read in the forward pass: a later change does
    not change the gradient. Arguments are those of `fairloss_ext.margin_softmax_loss`;
    `target_cosine` and `negative_logsumexp` are float32 or float64.

    Returns:
        (B,) losses; 0 where the label is -1.
    """
    arguments = margin_arguments(
        labels,
        margins,
        groups,
        sample_margins,
        as_scale(scale, target_cosine.dtype, target_cosine.device),
        kind=kind,
        extension=extension,
        margin_grad=margin_grad,
        validate=validate,
    )
    check_device(target_cosine.device, negative_logsumexp=negative_logsumexp)
    return target_losses(target_cosine, negative_logsumexp, arguments)


def target_losses(
    target_cosine: Tensor, negative_logsumexp: Tensor, arguments: MarginArguments
) -> Tensor:
    """Compute `margin_loss` from normalized arguments."""
    if not _library.serves("margin_loss", target_cosine):
        return reference_losses(target_cosine, negative_logsumexp, arguments)
    losses: Tensor = _library.call(
        "margin_loss", target_cosine, negative_logsumexp, *arguments.op_arguments()
    )[0]
    return losses


def _fake(
    target_cosine: Tensor,
    negative_logsumexp: Tensor,
    labels: Tensor,
    margins: Tensor,
    groups: Tensor | None,
    scale: Tensor,
    layout: int,
    kind: int,
    extension: int,
    straight_through: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    torch._check(
        target_cosine.shape == negative_logsumexp.shape == labels.shape,
        lambda: "labels: expected the shape of target_cosine and negative_logsumexp",
    )
    columns = margins.shape[1] if margins.dim() == 2 else 1
    return (
        torch.empty_like(target_cosine),
        target_cosine.new_empty((3 + columns, *labels.shape)),
        torch.empty_like(labels),
    )


def _fake_backward(
    grad_loss: Tensor, derivatives: Tensor, margin_rows: Tensor, num_rows: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = grad_loss.shape[0] if num_rows < 0 else num_rows
    return (
        torch.empty_like(grad_loss),
        torch.empty_like(grad_loss),
        grad_loss.new_empty((rows, derivatives.shape[0] - 3)),
        grad_loss.new_empty(()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, derivatives, margin_rows = output
    # Derivatives stay part of the graph: differentiating the gradient then meets the refusal of
    # margin_loss_backward, instead of a silent zero.
    ctx.mark_non_differentiable(margin_rows)
    ctx.save_for_backward(derivatives, margin_rows)
    ctx.margin_shape = gradient_shape(margins=inputs[3], layout=inputs[6])


def _backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad_target, grad_nlse, grad_margins, grad_scale = _library.call(
        "margin_loss_backward", grad_loss, *ctx.saved_tensors, ctx.margin_shape[0]
    )
    return (
        grad_target,
        grad_nlse,
        None,
        grad_margins.reshape(ctx.margin_shape),
        None,
        grad_scale,
        *[None] * 4,
    )


_library.register("margin_loss", _fake, _backward, _setup_context)
_library.register("margin_loss_backward", _fake_backward)
