"""Cosine of each sample to its class, and the log-sum-exp over all other classes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairloss_ext import _library
from fairloss_ext._arguments import PartitionArguments, partition_arguments
from fairloss_ext._checks import check_range, expect
from fairloss_ext.memory import physical_memory
from fairloss_ext.options import COMPUTE_DTYPES, Workspace
from fairloss_ext.reference.cosine_partition import partition as reference_partition

if _library.failure is None:
    from fairloss_ext._host import CPU_TILE_CLASSES, CUDA_TILE_CLASSES, SAMPLE_STEP

# Saved cosines spare the backward pass one of its three products. 2 GiB hold a batch of 512 against
# a million classes; on a small machine no single loss takes more than a quarter of the memory.
MAX_AUTO_WORKSPACE = 2 << 30
HOST_MEMORY = physical_memory()
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
    workspace: Workspace = "auto",
    compute_dtype: torch.dtype | None = None,
    fused: bool = False,
    validate: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute each sample's target cosine and the log of the summed exponentials of other classes.

    With ``cos_ij`` the cosine between embedding i and class weight j,
    ``negative_logsumexp_i = log sum_{j != labels_i} exp(scale * cos_ij)``. Both rows are normalized
    inside, and gradients reach the raw `embeddings`, `weight` and `scale`. A row shorter than 1e-12
    has no direction: its cosines and its gradient are 0.

    Args:
        embeddings: (B, D) float32, bfloat16 or float16, raw.
        weight: (C, D) float32, bfloat16 or float16, raw; the two dtypes may differ. If one is
            float64, plain torch computes in float64 and holds a (B, C) matrix.
        labels: (B,) or (B, 1) integers of any dtype; -1 excludes no class and gives a target
            cosine of 0.
        scale: a number or a 0-d tensor.
        hard_threshold: (B,) float32, constant. A non-target cosine c above it becomes
            ``a c^2 + b c + d`` (MV-Softmax, CurricularFace).
        hard_coefficients: (a, b, d) of that hard-negative transform, constant.
        workspace: bytes that may be saved between forward and backward for the cosines; all need
            4 B C, with B up to a multiple of 16, or 2 B C on a GPU where `compute_dtype` has 16
            bits. The backward pass computes the others again; on a CPU to the same bits.
            "recompute" saves none. "auto" saves all up to 16 MiB, beyond that nine tenths, and
            never more than 2 GiB or a quarter of the memory of the machine, or of the GPU.
        compute_dtype: what the operands of the products are rounded to (unit vectors, and in the
            backward pass the slopes of the loss); products are summed in float32 whatever it is.
            bfloat16 is faster where the CPU multiplies it, float16 is faster on a GPU only; see
            docs/accuracy.md for what they cost. None: float32, but on a GPU the dtype of the
            embeddings.
        fused: on a GPU, use the tensor-core product of this package, whose epilogue sums the
            exponentials, in place of torch's product and a pass over its result. Its float32 is
            TF32; see docs/kernels.md. The only implementation on a CPU is fused.
        validate: check the range of the labels on a GPU too, which synchronizes it. Without it such
            a label makes its own sample NaN. On a CPU it is always an error.

    Returns:
        target_cosine (B,) and negative_logsumexp (B,), float32, or float64 where an input is;
        -inf where C = 1. A NaN embedding makes its own results NaN and, unless the gradients of
        both are 0, its own gradient; those of other samples stay as they are.

    Raises:
        ValueError: a shape, a dtype, a device or a label out of range; it names the argument.
    """
    arguments = partition_arguments(
        embeddings, weight, labels, scale, compute_dtype, hard_threshold, hard_coefficients
    )
    if validate:
        check_range("labels", arguments.labels, -1, weight.shape[0], synchronize=True)
    return partition(arguments, workspace, fused)


def partition(
    arguments: PartitionArguments, workspace: Workspace, fused: bool
) -> tuple[Tensor, Tensor]:
    """Compute `cosine_partition` from normalized arguments."""
    if not ((isinstance(workspace, int) and workspace >= 0) or workspace in ("auto", "recompute")):
        expect(False, "workspace", "'auto', 'recompute' or a number of bytes", repr(workspace))
    double = arguments.scale.dtype == torch.float64  # which no kernel computes
    if double or not _library.serves("cosine_partition", arguments.embeddings):
        return reference_partition(arguments)
    target_cosine, negative_logsumexp, _ = _library.call(
        "cosine_partition", *arguments, fused, _saved_bytes(arguments, workspace)
    )
    return target_cosine, negative_logsumexp


def _saved_bytes(arguments: PartitionArguments, workspace: Workspace) -> int:
    """Return the most bytes of cosines to save for the backward pass."""
    embeddings, weight, _, scale, *_ = arguments
    trains = any(x.requires_grad for x in (embeddings, weight, scale))
    if workspace == "recompute" or not trains or not torch.is_grad_enabled():
        return 0
    if workspace != "auto":
        return workspace
    memory = HOST_MEMORY
    if embeddings.is_cuda:
        memory = torch.cuda.get_device_properties(embeddings.device).total_memory
    size = _saved_dtype(embeddings, arguments.compute).itemsize
    return auto_workspace(embeddings.shape[0], weight.shape[0], size, memory)


def auto_workspace(batch: int, classes: int, itemsize: int, memory: int) -> int:
    """Return the most bytes of (batch, classes) cosines that `workspace` "auto" saves.

    Args:
        batch: B.
        classes: C.
        itemsize: bytes of a saved cosine.
        memory: bytes of the machine, or of the GPU.
    """
    most = itemsize * padded_batch(batch) * classes * 9 // 10
    return min(MAX_AUTO_WORKSPACE, memory // 4, max(WHOLE_WORKSPACE, most))


def _saved_dtype(tensor: Tensor, compute: int) -> torch.dtype:
    """Return the dtype of saved cosines, as csrc/ops/cosine_partition_cuda.h does."""
    short = _library.runs_cuda_kernels(tensor) and COMPUTE_DTYPES[compute] != torch.float32
    return torch.int16 if short else torch.float32


def padded_batch(batch: int) -> int:
    """Return the stride of saved cosines, as csrc/include/fairloss/saved_cosines.h does."""
    stride: int = (batch + SAMPLE_STEP - 1) // SAMPLE_STEP * SAMPLE_STEP
    return stride


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
    torch._check(
        embeddings.dim() == weight.dim() == 2 and embeddings.shape[1] == weight.shape[1],
        lambda: "weight: expected a matrix with the columns of the embeddings",
    )
    batch, classes = embeddings.shape[0], weight.shape[0]

    stride = padded_batch(batch)
    dtype = _saved_dtype(embeddings, compute)
    tile = CUDA_TILE_CLASSES if _library.runs_cuda_kernels(embeddings) else CPU_TILE_CLASSES
    fitting = workspace // torch.sym_max(dtype.itemsize * stride, 1) // tile * tile
    saved = torch.sym_min(classes, fitting) if batch else 0
    return (
        embeddings.new_empty((batch,), dtype=torch.float32),
        embeddings.new_empty((batch,), dtype=torch.float32),
        embeddings.new_empty((saved, stride), dtype=dtype),
    )


def _fake_backward(
    grad_target_cosine: Tensor | None,
    grad_negative_logsumexp: Tensor | None,
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
    saved_cosines: Tensor,
    need_embeddings: bool,
    need_weight: bool,
    need_scale: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        embeddings.new_empty((embeddings.shape[0] if need_embeddings else 0, embeddings.shape[1])),
        weight.new_empty((weight.shape[0] if need_weight else 0, weight.shape[1])),
        embeddings.new_empty(() if need_scale else (0,), dtype=torch.float32),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.compute, ctx.fused, _ = inputs
    target_cosine, negative_logsumexp, saved_cosines = output
    ctx.mark_non_differentiable(saved_cosines)
    ctx.set_materialize_grads(False)  # else autograd makes zeros as large as saved_cosines
    ctx.save_for_backward(*tensors, target_cosine, negative_logsumexp, saved_cosines)


def _backward(
    ctx: Any, grad_target_cosine: Tensor | None, grad_negative_logsumexp: Tensor | None, *_: None
) -> tuple[Tensor | None, ...]:
    need_embeddings, need_weight, _, need_scale, *_ = ctx.needs_input_grad
    *inputs, target_cosine, negative_logsumexp, saved_cosines = ctx.saved_tensors
    grad_embeddings, grad_weight, grad_scale = _library.call(
        "cosine_partition_backward",
        grad_target_cosine,
        grad_negative_logsumexp,
        *inputs,
        ctx.compute,
        ctx.fused,
        target_cosine,
        negative_logsumexp,
        saved_cosines,
        need_embeddings,
        need_weight,
        need_scale,
    )
    return (
        grad_embeddings if need_embeddings else None,
        grad_weight if need_weight else None,
        None,
        grad_scale if need_scale else None,
        *[None] * 5,
    )


_library.register("cosine_partition", _fake, _backward, _setup_context)
_library.register("cosine_partition_backward", _fake_backward)
