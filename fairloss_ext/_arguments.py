"""Brings the arguments of the public functions to the form that the ops take."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext.options import KINDS, REDUCTIONS, Kind, Reduction, choice

Margins = Tensor | float | Sequence[float] | npt.NDArray[Any]

# Positions are the values of MarginTable::Rows in csrc/cpu/margin_table.h.
ROWS = ("one", "per_class", "per_sample")


def as_scale(scale: Tensor | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A 0-d tensor: a number that changes must not recompile a graph."""
    if isinstance(scale, Tensor):
        if scale.numel() != 1:
            raise ValueError(f"scale: expected one number, got shape {tuple(scale.shape)}")
        return scale.reshape(()).to(device=device, dtype=dtype)
    return number(scale, dtype, device)


def number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A 0-d tensor. torch.full and torch.tensor make torch.compile specialise on the value."""
    one = torch.ones((), dtype=dtype, device=device)
    return one.mul(value)


def numbers(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A (len(values),) tensor; a copy from the host would wait for a GPU."""
    return torch.stack([number(value, dtype, device) for value in values])


def as_step(step: Tensor | int, device: torch.device) -> Tensor:
    """A 0-d int64 tensor, for the same reason."""
    if not isinstance(step, Tensor):
        return number(step, torch.int64, device)
    if step.numel() != 1 or step.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"step: expected one integer, got shape {tuple(step.shape)} {step.dtype}")
    return step.reshape(()).to(device=device, dtype=torch.int64)


def as_labels(labels: Tensor) -> Tensor:
    """int64 labels from int32 or int64."""
    if labels.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"labels: expected dtype int32 or int64, got {labels.dtype}")
    return labels.to(torch.int64)


def check_shape(name: str, tensor: Tensor, *shape: int) -> None:
    """ValueError naming the argument; for the plain-torch twins (csrc/ops checks its own)."""
    if tensor.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")


def check_range(name: str, values: Tensor, lowest: int, bound: int) -> None:
    """RuntimeError naming the first value outside [lowest, bound).

    On a device other than the CPU, and while a graph is compiled, the check stays in the stream of
    work and does not wait for the answer.
    """
    if values.device.type == "meta":
        return
    wrong = (values < lowest) | (values >= bound)
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        torch._assert_async(~wrong.any(), f"{name}: a value is outside {lowest} to {bound - 1}")
    elif wrong.any():
        at = int(wrong.nonzero()[0])
        raise RuntimeError(
            f"{name}: value {int(values[at])} at position {at} is out of range; allowed are "
            f"{lowest} to {bound - 1}"
        )


def check_now(name: str, values: Tensor, lowest: int, bound: int) -> None:
    """RuntimeError naming the first value outside [lowest, bound); waits for a GPU."""
    check_range(name, values.cpu(), lowest, bound)


def check_device(device: torch.device, **tensors: Tensor | None) -> None:
    """ValueError naming the first tensor that is not on the device of the embeddings."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise ValueError(f"{name}: expected on {device}, got {tensor.device}")


class MarginTable(NamedTuple):
    """Margins in the one form that kernels read."""

    values: Tensor  # (R,), or (R, 3) with kind "combined"
    groups: Tensor | None  # (C,) int64 row of each class
    rows: str  # one of ROWS
    kind: Kind

    @property
    def classes(self) -> int:
        """Labels end below this; where no class has a row of its own, any is fine."""
        if self.rows != "per_class":
            return torch.iinfo(torch.int64).max
        return len(self.values if self.groups is None else self.groups)

    def check_now(self, labels: Tensor) -> None:
        """RuntimeError naming the first label or group out of range; waits for a GPU."""
        check_now("labels", labels, -1, self.classes)
        if self.groups is not None:
            check_now("groups", self.groups, 0, len(self.values))


def margin_table(
    margins: Margins | None,
    groups: Tensor | None,
    sample_margins: Tensor | None,
    kind: Kind,
    like: Tensor,
    num_classes: int | None = None,
) -> MarginTable:
    """Sort out the ways to give margins; see `fairloss_ext.margin_softmax_loss`.

    Args:
        like: gives dtype and device.
        num_classes: C, where it is known.
    """
    choice("kind", kind, KINDS)
    name = "margins"
    if sample_margins is not None:
        if margins is not None or groups is not None:
            raise ValueError("sample_margins: replaces margins and groups; pass margins=None")
        name, values, rows = "sample_margins", sample_margins, "per_sample"
    elif margins is None:
        raise ValueError("margins: expected a number, a (C,) or a (G,) tensor, got None")
    else:
        values = as_margins(margins, like.dtype, like.device)
        one = values.dim() == 0 or (kind == "combined" and values.dim() == 1)
        rows = "one" if one else "per_class"
    values = values.to(device=like.device, dtype=like.dtype)
    if rows == "one":
        values = values.reshape(1, -1) if values.dim() else values.reshape(1)
    if values.dim() == 2 and values.shape[1] == 3:
        kind = "combined"
    elif values.dim() != 1 or kind == "combined":
        wanted = "a trailing dimension of 3" if kind == "combined" else "one number a row"
        raise ValueError(f"{name}: kind {kind!r} takes {wanted}, got shape {tuple(values.shape)}")
    if groups is not None:
        if groups.dtype not in (torch.int32, torch.int64) or groups.dim() != 1:
            raise ValueError(
                f"groups: expected (C,) integers, got shape {tuple(groups.shape)} {groups.dtype}"
            )
        if rows == "one":
            raise ValueError("groups: margins must be a (G,) tensor, one row a group")
        groups = groups.to(device=like.device, dtype=torch.int64)
    if num_classes is not None and rows == "per_class":
        name, length = ("margins", len(values)) if groups is None else ("groups", len(groups))
        if length != num_classes:
            raise ValueError(f"{name}: expected one row a class, {num_classes}, got {length}")
    return MarginTable(values, groups, rows, kind)


def as_margins(margins: Margins, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number, a sequence or an array as a tensor."""
    if isinstance(margins, Tensor):
        return margins
    if isinstance(margins, (float, int, torch.SymFloat)):
        return number(margins, dtype, device)
    if isinstance(margins, (tuple, list)) and len(margins) == 3:  # of all classes, most often
        return numbers(margins, dtype, device)
    return torch.as_tensor(margins, dtype=dtype, device=device)


def keep_margins_shape(ctx: Any, margins: Tensor, rows: int) -> None:
    """What the backward pass needs to shape the margins' gradient, without the margins themselves.

    A table with one row a sample is -1 rows: its length must not become a constant of the graph.
    """
    ctx.num_rows = -1 if ROWS[rows] == "per_sample" else margins.shape[0]
    ctx.plain_margins = margins.dim() == 1


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
    values = values.detach()
    return values.float() if values.dtype == torch.float64 else values
