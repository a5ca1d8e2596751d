"""Margin logits for code that already has the (B, C) matrix of cosines."""

from typing import Any

import torch
from torch import Tensor

from fairloss_ext import _library
from fairloss_ext._arguments import Numbers, as_cosines, as_scale, gradient_shape, margin_arguments
from fairloss_ext.options import Extension, Kind, MarginGrad
from fairloss_ext.reference.margin_logits import logits as reference_logits


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
    validate: bool = False,
) -> Tensor:
    """Compute ``scale * cosine`` with ``scale * phi(cosine; margin)`` in place of each target.

    For cross-entropy loops and PartialFC-style margin callables. Arguments are those of
    `fairloss_ext.margin_softmax_loss`; a label of -1 (not on this shard) leaves its row without
    margin.

    Returns:
        (B, C) logits, float32 (float64 for float64 cosines): at scale 64, bfloat16 logits would
        carry an error of 13% in the probability.
    """
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
        validate=validate,
    )
    if not _library.serves("margin_logits", cosine):
        return reference_logits(cosine, arguments)
    logits: Tensor = _library.call("margin_logits", cosine, *arguments.op_arguments())[0]
    return logits


def _fake(
    cosine: Tensor,
    labels: Tensor,
    margins: Tensor,
    groups: Tensor | None,
    scale: Tensor,
    layout: int,
    kind: int,
    extension: int,
    straight_through: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    torch._check(labels.shape == cosine.shape[:1], lambda: "labels: expected shape (B,)")
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
    cosine, labels, margins, _, scale, layout, *_ = inputs
    _, target, margin_rows = output
    # The target's derivatives stay part of the graph, see margin_loss.
    ctx.mark_non_differentiable(margin_rows)
    # Only the gradient of the scale needs the matrix; without it, its memory is freed.
    saved_cosine = cosine if scale.requires_grad else cosine.new_empty((0, 0))
    ctx.save_for_backward(saved_cosine, target, margin_rows, labels, scale)
    ctx.margin_shape = gradient_shape(margins, layout)


def _backward(ctx: Any, grad_logits: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad_cosine, grad_margins, grad_scale = _library.call(
        "margin_logits_backward", grad_logits, *ctx.saved_tensors, ctx.margin_shape[0]
    )
    return (
        grad_cosine,
        None,
        grad_margins.reshape(ctx.margin_shape),
        None,
        grad_scale,
        *[None] * 4,
    )


_library.register("margin_logits", _fake, _backward, _setup_context)
_library.register("margin_logits_backward", _fake_backward)
