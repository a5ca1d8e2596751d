"""Normalization of margins and of the options of the target transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._arguments import scalar, vector
from fairloss_ext._checks import INTEGER_DTYPES, check_choice, check_range, expect
from fairloss_ext.options import EXTENSIONS, KINDS, MARGIN_GRADS, Extension, Kind, MarginGrad

Margins = Tensor | float | Sequence[float] | npt.NDArray[Any]
Rows = Literal["one", "per_class", "per_sample"]

# Positions are the values of MarginTable::Rows in csrc/cpu/margin_table.h.
ROWS: tuple[Rows, ...] = ("one", "per_class", "per_sample")


class MarginArguments(NamedTuple):
    """Margins and options of the target transform, as kernels read them."""

    values: Tensor  # (R,), or (R, 3) with kind "combined"
    groups: Tensor | None  # (C,) int64 row of each class
    scale: Tensor  # (), of the dtype and on the device of the cosines
    rows: Rows  # what a row of `values` belongs to
    kind: Kind
    extension: Extension
    margin_grad: MarginGrad

    def op_arguments(self) -> tuple[Any, ...]:
        """Return the arguments that follow the labels in the schema of an op."""
        return (
            self.values,
            self.groups,
            self.scale,
            ROWS.index(self.rows),
            KINDS.index(self.kind),
            EXTENSIONS.index(self.extension),
            self.margin_grad == "straight_through",
        )

    def check_values(self, labels: Tensor, *, synchronize: bool = False) -> None:
        """Raise ValueError naming the first label or group out of range; see `check_range`."""
        stop = torch.iinfo(torch.int64).max  # any label will do where no class has its own row
        if self.rows == "per_class":
            stop = len(self.values if self.groups is None else self.groups)
        check_range("labels", labels, -1, stop, synchronize=synchronize)
        if self.groups is not None:
            check_range("groups", self.groups, 0, len(self.values), synchronize=synchronize)


def margin_arguments(
    margins: Margins | None,
    groups: Tensor | None,
    sample_margins: Tensor | None,
    scale: Tensor,
    *,
    kind: Kind,
    extension: Extension,
    margin_grad: MarginGrad,
    num_classes: int | None = None,
) -> MarginArguments:
    """Normalize the arguments of `fairloss_ext.margin_softmax_loss` that belong to the target.

    Args:
        margins: for all samples, for each class or for each group.
        groups: (C,) row of `margins` for each class.
        sample_margins: in place of `margins` and `groups`.
        scale: (), of the dtype and on the device of the cosines.
        kind: one of `KINDS`; "combined" follows from a trailing dimension of 3.
        extension: one of `EXTENSIONS`.
        margin_grad: one of `MARGIN_GRADS`.
        num_classes: C, where it is known.
    """
    check_choice("kind", kind, KINDS)
    check_choice("extension", extension, EXTENSIONS)
    check_choice("margin_grad", margin_grad, MARGIN_GRADS)
    name, values, rows = _margin_rows(margins, groups, sample_margins, kind, scale)
    if values.dim() == 2 and values.shape[1] == 3:
        kind = "combined"
    elif values.dim() != 1 or kind == "combined":
        columns = "a trailing dimension of 3" if kind == "combined" else "one number a row"
        expect(False, name, f"{columns} with kind {kind!r}", f"shape {tuple(values.shape)}")
    if groups is not None:
        expect(rows == "per_class", "margins", "one row a group", "one margin for all")
        if groups.dtype not in INTEGER_DTYPES or groups.dim() != 1:
            expect(False, "groups", "(C,) integers", f"shape {tuple(groups.shape)} {groups.dtype}")
        name, groups = "groups", groups.to(device=scale.device, dtype=torch.int64)
    if num_classes is not None and rows == "per_class":
        length = len(values if groups is None else groups)
        if length != num_classes:
            expect(False, name, f"one row a class, {num_classes}", length)
    return MarginArguments(values, groups, scale, rows, kind, extension, margin_grad)


def _margin_rows(
    margins: Margins | None,
    groups: Tensor | None,
    sample_margins: Tensor | None,
    kind: Kind,
    scale: Tensor,
) -> tuple[str, Tensor, Rows]:
    """Return the name of the argument that holds the margins, its rows and what they belong to."""
    if sample_margins is not None:
        alone = margins is None and groups is None
        expect(alone, "sample_margins", "margins=None and groups=None beside it", "both")
        return "sample_margins", sample_margins.to(scale), "per_sample"
    values = as_margins(margins, scale.dtype, scale.device).to(scale)
    if values.dim() == (1 if kind == "combined" else 0):
        return "margins", values[None], "one"
    return "margins", values, "per_class"


def as_margins(margins: Margins | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number, a sequence or an array as a tensor."""
    if margins is None:
        raise ValueError("margins: expected a number, a (C,) or a (G,) tensor, got None")
    if isinstance(margins, Tensor):
        return margins
    if isinstance(margins, (float, int, torch.SymFloat)):
        return scalar(margins, dtype, device)
    if isinstance(margins, (tuple, list)) and len(margins) == 3:  # of all classes, most often
        return vector(margins, dtype, device)
    return torch.as_tensor(margins, dtype=dtype, device=device)


def save_margin_shape(ctx: Any, margins: Tensor, rows: int) -> None:
    """Save in `ctx` what `shaped_gradient` needs, without the margins themselves.

    A table with one row a sample has -1 rows: its length must not become a constant of the graph.
    """
    ctx.num_rows = -1 if ROWS[rows] == "per_sample" else margins.shape[0]
    ctx.plain_margins = margins.dim() == 1


def shaped_gradient(ctx: Any, grad_margins: Tensor) -> Tensor:
    """Return the (R, 1) or (R, 3) gradient in the shape of the margins."""
    return grad_margins.squeeze(1) if ctx.plain_margins else grad_margins
