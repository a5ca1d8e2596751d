"""Normalization of the arguments of public functions to the form that the ops take."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._checks import INTEGER_DTYPES, check_choice, check_device, expect
from fairloss_ext.options import COMPUTE_DTYPES

Numbers = Tensor | float | Sequence[float] | npt.NDArray[Any]


def as_tensor(value: Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number, a sequence, an array or a tensor with this dtype on this device.

    torch.full and torch.tensor would make torch.compile specialize on a number, and a copy of few
    numbers from the host would synchronize a GPU.
    """
    if isinstance(value, Tensor):
        return value.to(device=device, dtype=dtype)
    if isinstance(value, (float, int, torch.SymFloat)):
        return torch.ones((), dtype=dtype, device=device).mul(value)
    if isinstance(value, (tuple, list)) and len(value) == 3:  # numbers for all classes, most often
        return torch.stack([as_tensor(number, dtype, device) for number in value])
    return torch.as_tensor(value, dtype=dtype, device=device)


def as_scale(scale: Tensor | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a 0-d tensor: a number that changes must not recompile a graph."""
    values = as_tensor(scale, dtype, device)
    expect(values.numel() == 1, "scale", "one number", values)
    return values.reshape(())


def as_step(step: Tensor | int, device: torch.device) -> Tensor:
    """Return a 0-d int64 tensor, for the same reason."""
    if isinstance(step, Tensor):
        is_integer = step.numel() == 1 and step.dtype in INTEGER_DTYPES
        expect(is_integer, "step", "one integer", step)
    return as_tensor(step, torch.int64, device).reshape(())


def as_labels(labels: Tensor) -> Tensor:
    """Return int64 labels from int32 or int64."""
    expect(labels.dtype in INTEGER_DTYPES, "labels", "dtype int32 or int64", labels.dtype)
    return labels.to(torch.int64)


def as_cosines(cosine: Tensor) -> Tensor:
    """Return (B, C) float64 cosines as they are, others as float32."""
    expect(cosine.dim() == 2, "cosine", "shape (B, C)", cosine)
    return cosine if cosine.dtype == torch.float64 else cosine.float()


def as_matrix(name: str, values: Tensor | npt.ArrayLike) -> Tensor:
    """Return (N, D) floats from a tensor, an array or a memory map, without a needless copy."""
    with warnings.catch_warnings():  # a read-only memory map is only ever read
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        matrix = torch.as_tensor(values).detach()
    is_matrix = matrix.dim() == 2 and matrix.is_floating_point()
    expect(is_matrix, name, "an (N, D) matrix of floats", matrix)
    return matrix.float() if matrix.dtype == torch.float64 else matrix


class PartitionArguments(NamedTuple):
    """Arguments of `cosine_partition` in the order of the op."""

    embeddings: Tensor  # (B, D)
    weight: Tensor  # (C, D)
    labels: Tensor  # (B,) int64
    scale: Tensor  # (), of the dtype of the results
    hard_threshold: Tensor | None  # (B,)
    hard_coefficients: Tensor | None  # (3,)
    compute: int  # position in COMPUTE_DTYPES


def partition_arguments(
    embeddings: Tensor,
    weight: Tensor,
    labels: Tensor,
    scale: Tensor | float,
    compute_dtype: torch.dtype | None,
    hard_threshold: Tensor | None = None,
    hard_coefficients: Tensor | Sequence[float] | None = None,
) -> PartitionArguments:
    """Normalize the arguments of `fairloss_ext.cosine_partition`."""
    labels = as_labels(labels)
    if compute_dtype is None:
        native = embeddings.is_cuda and embeddings.dtype in COMPUTE_DTYPES
        compute_dtype = embeddings.dtype if native else torch.float32
    compute = check_choice("compute_dtype", compute_dtype, COMPUTE_DTYPES)
    device = embeddings.device
    check_device(device, weight=weight, labels=labels, hard_threshold=hard_threshold)
    both_double = embeddings.dtype == weight.dtype == torch.float64  # by the reference alone
    dtype = torch.float64 if both_double else torch.float32
    together = (hard_threshold is None) == (hard_coefficients is None)
    expect(together, "hard_threshold", "hard_coefficients beside it, or neither", "one of the two")
    return PartitionArguments(
        embeddings,
        weight,
        labels,
        as_scale(scale, dtype, device),
        None if hard_threshold is None else hard_threshold.detach().to(dtype),
        None if hard_coefficients is None else as_tensor(hard_coefficients, dtype, device).detach(),
        compute,
    )
