"""The one heavy op of every cosine head: targets apart, and a log-sum-exp over the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import (
    as_labels,
    as_scale,
    check_device,
    check_now,
    numbers,
)
from fairloss_ext.memory import physical_memory
from fairloss_ext.options import COMPUTE_DTYPES, choice

# Kept cosines save the backward pass one of its three products. 2 GiB hold a batch of 512 against a
# million classes; on a small machine a quarter of the memory goes to no single loss.
AUTO_WORKSPACE = min(2 << 30, physical_memory() // 4)
# Beyond this size a tenth is computed again: 3% of the time for 10% of the memory.
WHOLE_WORKSPACE = 16 << 20


def cosine_partition(
    embeddings: Tensor,  # (B, D)
    weight: Tensor,  # (C, D)
    labels: Tensor,  # (B,)
    scale: Tensor | float = 64.0,
    *,
    hard_threshold: Tensor | None = None,  # (B,)
    hard_coefficients: Tensor | Sequence[float] | None = None,  # (3,)
    workspace: int | Literal["auto", "recompute"] = "auto",
    compute_dtype: torch.dtype | None = None,
    fused: bool = False,
    validate: bool = False,
) -> tuple[Tensor, Tensor]:
    """Target cosine of every sample, and log of the summed exponentials of all other classes.

    With ``cos_ij`` the cosine between embedding i and class weight j,
    ``negative_logsumexp_i = log sum_{j != labels_i} exp(scale * cos_ij)``. Both rows are normalised
    inside, and gradients reach the raw `embeddings`, `weight` and `scale`. A row shorter than 1e-12
    has no direction: its cosines and its gradient are 0.

    Args:
        embeddings: (B, D) float32, bfloat16 or float16, raw.
        weight: (C, D) float32, bfloat16 or float16, raw; the two dtypes may differ.
        labels: (B,) int32 or int64; -1 excludes no class and gives a target cosine of 0.
        scale: a number or a 0-d tensor.
        hard_threshold: (B,) float32, constant. A non-target cosine c above it becomes
            ``a c^2 + b c + d`` (MV-Softmax, CurricularFace).
        hard_coefficients: (a, b, d) of that curve, constant.
        workspace: bytes that may be kept between forward and backward for the cosines; all need
            4 B C, with B up to a multiple of 16, or 2 B C on a GPU where `compute_dtype` has 16
            bits. What does not fit is computed again by the backward pass; on a CPU to the same
            bits.
            "recompute" keeps none. "auto" keeps all up to 16 MiB, beyond that nine tenths, and
            never more than 2 GiB or a quarter of the memory of the machine, or of the GPU.
        compute_dtype: what the operands of the products are rounded to (unit vectors, and in the
            backward pass the slopes of the loss); products are summed in float32 whatever it is.
            bfloat16 is faster where the processor multiplies it, float16 is not on a CPU; see
            docs/accuracy.md for what they cost. None: float32, but on a GPU the dtype of the
            embeddings.
        fused: on a GPU, use the tensor-core product of our own whose epilogue sums the exponentials
            in place of torch's product and a pass over its result. Its float32 is TF32; see
            docs/kernels.md. On a CPU there is one way, which is fused.
        validate: look for labels out of range on a GPU too, which waits for it. Without it such a
            label makes its own sample NaN. On a CPU it is always an error.

    Returns:
        target_cosine (B,) and negative_logsumexp (B,), float32; -inf where C = 1. A NaN embedding
        makes its own numbers NaN and, unless nothing comes from upstream, its own gradient;
        nobody else's.

    Raises:
        ValueError or RuntimeError naming the argument: shapes, dtypes, a label out of range.
    """
    labels = as_labels(labels)
    if compute_dtype is None:
        theirs = embeddings.is_cuda and embeddings.dtype in COMPUTE_DTYPES
        compute_dtype = embeddings.dtype if theirs else torch.float32
    compute = choice("compute_dtype", compute_dtype, COMPUTE_DTYPES)
    if validate:
        check_now("labels", labels, -1, weight.shape[0])
    check_device(embeddings.device, weight=weight, labels=labels, hard_threshold=hard_threshold)
    if (hard_threshold is None) != (hard_coefficients is None):
        raise ValueError("hard_threshold and hard_coefficients go together")
    if hard_coefficients is not None and not isinstance(hard_coefficients, Tensor):
        hard_coefficients = numbers(hard_coefficients, torch.float32, embeddings.device)
    to_keep = _bytes_to_keep(embeddings, weight, scale, workspace, compute)
    if not _library.serves("cosine_partition", embeddings):
        return reference.cosine_partition(
            embeddings,
            weight,
            labels,
            scale,
            hard_threshold=hard_threshold,
            hard_coefficients=hard_coefficients,
            compute_dtype=compute_dtype,
        )
    scale = as_scale(scale, torch.float32, embeddings.device)
    target_cosine, negative_logsumexp, _ = _library.call(
        "cosine_partition",
        embeddings,
        weight,
        labels,
        scale,
        None if hard_threshold is None else hard_threshold.detach().float(),
        None if hard_coefficients is None else hard_coefficients.detach().float(),
        compute,
        fused,
        to_keep,
    )
    return target_cosine, negative_logsumexp


def _bytes_to_keep(
    embeddings: Tensor, weight: Tensor, scale: Tensor | float, workspace: int | str, compute: int
) -> int:
    limit: int
    if workspace == "recompute":
        limit = 0
    elif workspace == "auto":
        size = _kept_dtype(embeddings, compute).itemsize
        most = size * _padded(embeddings.shape[0]) * weight.shape[0] * 9 // 10
        limit = min(_auto_workspace(embeddings), max(WHOLE_WORKSPACE, most))
    elif isinstance(workspace, int) and workspace >= 0:
        limit = workspace
    else:
        raise ValueError(
            f"workspace: got {workspace!r}, allowed are 'auto', 'recompute' or a number of bytes"
        )
    inputs = (embeddings, weight, scale)
    trains = any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
    return limit if torch.is_grad_enabled() and trains else 0


def _auto_workspace(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return AUTO_WORKSPACE
    return min(2 << 30, torch.cuda.get_device_properties(tensor.device).total_memory // 4)


def _kept_dtype(tensor: Tensor, compute: int) -> torch.dtype:
    """As kept_type in csrc/ops/cosine_partition_cuda.h."""
    short = _library.runs_cuda_text(tensor) and COMPUTE_DTYPES[compute] != torch.float32
    return torch.int16 if short else torch.float32


def _padded(batch: int) -> int:
    """As kept_stride in csrc/cpu/cosine_partition.h."""
    return (batch + 15) // 16 * 16


def _fake(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    scale: Tensor,
    hard_threshold: Tensor | None,
    hard_coefficients: Tensor | None,
    compute: int,
    fused: bool,
    workspace: int,
) -> tuple[Tensor, ...]:
    torch._check(embeddings.dim() == 2 and weight.dim() == 2, lambda: "expected matrices")
    torch._check(
        embeddings.shape[1] == weight.shape[1],
        lambda: f"embeddings have {embeddings.shape[1]} columns but weight {weight.shape[1]}",
    )
    batch, classes = embeddings.shape[0], weight.shape[0]

    def new(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return embeddings.new_empty(shape, dtype=dtype)

    stride = _padded(batch)  # and as kept_classes in csrc/cpu/cosine_partition.h
    dtype = _kept_dtype(embeddings, compute)
    block = 128 if _library.runs_cuda_text(embeddings) else 96
    fitting = workspace // torch.sym_max(dtype.itemsize * stride, 1) // block * block
    kept = torch.sym_min(classes, fitting) if batch else 0
    return new(batch), new(batch), new(kept, stride, dtype=dtype)


def _fake_backward(
    grad_target_cosine: Tensor,
    grad_negative_logsumexp: Tensor,
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    scale: Tensor,
    hard_threshold: Tensor | None,
    hard_coefficients: Tensor | None,
    compute: int,
    fused: bool,
    target_cosine: Tensor,
    negative_logsumexp: Tensor,
    cosines: Tensor,
    need_embeddings: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    columns = embeddings.shape[1]
    return (
        embeddings.new_empty((embeddings.shape[0] if need_embeddings else 0, columns)),
        weight.new_empty((weight.shape[0] if need_weight else 0, columns)),
        embeddings.new_empty((), dtype=torch.float32),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.compute, ctx.fused, _ = inputs
    target_cosine, negative_logsumexp, cosines = output
    ctx.mark_non_differentiable(cosines)
    ctx.set_materialize_grads(False)  # else zeros as large as the cosines are made for their sake
    ctx.save_for_backward(*tensors, target_cosine, negative_logsumexp, cosines)


def _backward(
    ctx: Any, grad_target_cosine: Tensor | None, grad_negative_logsumexp: Tensor | None, *_: None
) -> tuple[Tensor | None, ...]:
    need_embeddings, need_weight, _, need_scale, *_ = ctx.needs_input_grad
    *inputs, target_cosine, negative_logsumexp, cosines = ctx.saved_tensors
    zeros = torch.zeros_like(target_cosine)
    grad_embeddings, grad_weight, grad_scale = _library.call(
        "cosine_partition_backward",
        zeros if grad_target_cosine is None else grad_target_cosine,
        zeros if grad_negative_logsumexp is None else grad_negative_logsumexp,
        *inputs,
        ctx.compute,
        ctx.fused,
        target_cosine,
        negative_logsumexp,
        cosines,
        need_embeddings,
        need_weight,
    )
    return (
        grad_embeddings if need_embeddings else None,
        grad_weight if need_weight else None,
        None,
        grad_scale if need_scale else None,
        None,
        None,
        None,
        None,
        None,
    )


_library.register("cosine_partition", _fake, _backward, _setup_context)
_library.register("cosine_partition_backward", _fake_backward)
