"""Brings the arguments of the public functions to the form that the ops take."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

Kind = Literal["arc", "cos", "sphere", "combined"]
Extension = Literal["linear", "easy", "none"]
MarginGrad = Literal["exact", "straight_through"]
Reduction = Literal["mean", "sum", "none"]
Margins = Tensor | float | Sequence[float]

# Positions are the values of the enumerations in csrc/include/fairloss/margin.h.
KINDS: tuple[Kind, ...] = ("arc", "cos", "sphere", "combined")
EXTENSIONS: tuple[Extension, ...] = ("linear", "easy", "none")
MARGIN_GRADS: tuple[MarginGrad, ...] = ("exact", "straight_through")
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none")

# Positions are the values of MarginTable::Rows in csrc/cpu/margin_table.h.
ROWS = ("one", "per_class", "per_sample")


def choice(name: str, value: str, allowed: Sequence[str]) -> int:
    """Position of `value` in `allowed`, or a ValueError that lists them."""
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(map(repr, allowed))}")
    return list(allowed).index(value)


def as_scale(scale: Tensor | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A 0-d tensor: a number that changes must not recompile a graph."""
    if isinstance(scale, Tensor):
        if scale.numel() != 1:
            raise ValueError(f"scale: expected one number, got shape {tuple(scale.shape)}")
        return scale.reshape(()).to(device=device, dtype=dtype)
    return number(scale, dtype, device)


def number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A 0-d tensor. torch.full and torch.tensor make torch.compile specialise on the value."""
    return torch.ones((), dtype=dtype, device=device) * value


def as_labels(labels: Tensor) -> Tensor:
    """int64 labels from int32 or int64."""
    if labels.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"labels: expected dtype int32 or int64, got {labels.dtype}")
    return labels.to(torch.int64)


class MarginTable(NamedTuple):
    """Margins in the one form that kernels read."""

    values: Tensor  # (R,), or (R, 3) with kind "combined"
    groups: Tensor | None  # (C,) int64 row of each class
    rows: str  # one of ROWS
    kind: Kind


def margin_table(
    margins: Margins | None,
    groups: Tensor | None,
    sample_margins: Tensor | None,
    kind: Kind,
    dtype: torch.dtype,
    device: torch.device,
) -> MarginTable:
    """Sort out the ways to give margins; see `fairloss_ext.margin_softmax_loss`."""
    choice("kind", kind, KINDS)
    if sample_margins is not None:
        if margins is not None or groups is not None:
            raise ValueError("sample_margins: replaces margins and groups; pass margins=None")
        values, rows = sample_margins, "per_sample"
    elif margins is None:
        raise ValueError("margins: expected a number, a (C,) or a (G,) tensor, got None")
    elif isinstance(margins, Tensor):
        values = margins
        one = values.dim() == 0 or (kind == "combined" and values.dim() == 1)
        rows = "one" if one else "per_class"
    elif isinstance(margins, Sequence):
        values, rows = torch.tensor(margins, dtype=dtype, device=device), "one"
    else:
        values, rows = number(margins, dtype, device), "one"
    values = values.to(device=device, dtype=dtype)
    if rows == "one":
        values = values.reshape(1, -1) if values.dim() else values.reshape(1)
    if values.dim() == 2 and values.shape[1] == 3:
        kind = "combined"
    elif values.dim() != 1 or kind == "combined":
        wanted = "a trailing dimension of 3" if kind == "combined" else "one number a row"
        raise ValueError(f"margins: kind {kind!r} takes {wanted}, got shape {tuple(values.shape)}")
    if groups is not None:
        if groups.dtype not in (torch.int32, torch.int64) or groups.dim() != 1:
            raise ValueError(
                f"groups: expected (C,) integers, got shape {tuple(groups.shape)} {groups.dtype}"
            )
        if rows == "one":
            raise ValueError("groups: margins must be a (G,) tensor, one row a group")
        groups = groups.to(device=device, dtype=torch.int64)
    return MarginTable(values, groups, rows, kind)


def reduce(losses: Tensor, labels: Tensor, reduction: Reduction) -> Tensor:
    """(B,) losses to a scalar; ignored samples (label -1) do not count in the mean."""
    choice("reduction", reduction, REDUCTIONS)
    if reduction == "none":
        return losses
    total = losses.sum()
    return total if reduction == "sum" else total / (labels >= 0).sum().clamp(min=1)


def as_matrix(name: str, values: Tensor | npt.ArrayLike) -> Tensor:
    """(N, D) floats from a tensor, an array or a memory map; no copy where none is needed."""
    if not isinstance(values, Tensor):
        with warnings.catch_warnings():  # a read-only memory map is only ever read
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            values = torch.as_tensor(values)
    if values.dim() != 2 or not values.is_floating_point():
        raise ValueError(
            f"{name}: expected an (N, D) matrix of floats, got shape {tuple(values.shape)} "
            f"{values.dtype}"
        )
    return values.float() if values.dtype == torch.float64 else values.detach()
