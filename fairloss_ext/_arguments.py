"""Normalization of the arguments of public functions to the form that the ops take."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._checks import INTEGER_DTYPES, check_choice, check_device, check_integers, expect
from fairloss_ext.options import COMPUTE_DTYPES


def scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a 0-d tensor; torch.full and torch.tensor make torch.compile specialize on `value`."""
    one = torch.ones((), dtype=dtype, device=device)
    return one.mul(value)


def vector(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a (len(values),) tensor; a copy from the host would synchronize a GPU."""
    return torch.stack([scalar(value, dtype, device) for value in values])


def as_scale(scale: Tensor | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a 0-d tensor: a number that changes must not recompile a graph."""
    if not isinstance(scale, Tensor):
        return scalar(scale, dtype, device)
    expect(scale.numel() == 1, "scale", "one number", f"shape {tuple(scale.shape)}")
    return scale.reshape(()).to(device=device, dtype=dtype)


def as_step(step: Tensor | int, device: torch.device) -> Tensor:
    """Return a 0-d int64 tensor, for the same reason."""
    if not isinstance(step, Tensor):
        return scalar(step, torch.int64, device)
    is_integer = step.numel() == 1 and step.dtype in INTEGER_DTYPES
    expect(is_integer, "step", "one integer", f"shape {tuple(step.shape)} {step.dtype}")
    return step.reshape(()).to(device=device, dtype=torch.int64)


def as_labels(labels: Tensor) -> Tensor:
    """Return int64 labels from int32 or int64."""
    check_integers("labels", labels)
    return labels.to(torch.int64)


def as_cosines(cosine: Tensor) -> Tensor:
    """Return (B, C) float64 cosines as they are, others as float32."""
    if cosine.dim() != 2:
        expect(False, "cosine", "shape (B, C)", tuple(cosine.shape))
    return cosine if cosine.dtype == torch.float64 else cosine.float()


def as_matrix(name: str, values: Tensor | npt.ArrayLike) -> Tensor:
    """Return (N, D) floats from a tensor, an array or a memory map, without a needless copy."""
    if not isinstance(values, Tensor):
        with warnings.catch_warnings():  # a read-only memory map is only ever read
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            values = torch.as_tensor(values)
    if values.dim() != 2 or not values.is_floating_point():
        got = f"shape {tuple(values.shape)} {values.dtype}"
        expect(False, name, "an (N, D) matrix of floats", got)
    values = values.detach()
    return values.float() if values.dtype == torch.float64 else values


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
    if hard_coefficients is not None and not isinstance(hard_coefficients, Tensor):
        hard_coefficients = vector(hard_coefficients, dtype, device)
    return PartitionArguments(
        embeddings,
        weight,
        labels,
        as_scale(scale, dtype, device),
        None if hard_threshold is None else hard_threshold.detach().to(dtype),
        None if hard_coefficients is None else hard_coefficients.detach().to(dtype),
        compute,
    )
