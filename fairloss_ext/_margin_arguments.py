"""Normalization of margins and of the options of the target transform."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from fairloss_ext._arguments import Numbers, as_labels, as_tensor
from fairloss_ext._checks import (
    INTEGER_DTYPES,
    check_choice,
    check_device,
    check_range,
    check_shape,
    expect,
)
from fairloss_ext.options import EXTENSIONS, KINDS, MARGIN_GRADS, Extension, Kind, MarginGrad

Rows = Literal["one", "per_class", "per_sample"]

# Positions are the values of MarginTable::Rows in csrc/cpu/margin_table.h.
ROWS: tuple[Rows, ...] = ("one", "per_class", "per_sample")


class MarginArguments(NamedTuple):
    """Labels, margins and options of the target transform, as kernels read them."""

    labels: Tensor  # (B,) int64
    values: Tensor  # (R,), or (R, 3) with kind "combined"
    groups: Tensor | None  # (C,) int64 row of each class
    scale: Tensor  # (), of the dtype and on the device of the cosines
    num_classes: int  # C; without a limit where a table has no row for each class
    rows: Rows  # what a row of `values` belongs to
    kind: Kind
    extension: Extension
    margin_grad: MarginGrad

    def op_arguments(self) -> tuple[Any, ...]:
        """Return the arguments in the form and in the order of an op's schema."""
        return (
            self.labels,
            self.values,
            self.groups,
            self.scale,
            ROWS.index(self.rows),
            KINDS.index(self.kind),
            EXTENSIONS.index(self.extension),
            self.margin_grad == "straight_through",
        )

    def check_values(self, *, synchronize: bool = False) -> None:
        """Raise ValueError unless every label and every group has a row; see `check_range`."""
        check_range("labels", self.labels, -1, self.num_classes, synchronize=synchronize)
        if self.groups is not None:
            check_range("groups", self.groups, 0, len(self.values), synchronize=synchronize)
        if self.rows == "per_sample":
            shape = (len(self.labels), *self.values.shape[1:])
            check_shape("sample_margins", self.values, *shape)


def margin_arguments(
    labels: Tensor,
    margins: Numbers | None,
    groups: Tensor | None,
    sample_margins: Tensor | None,
    scale: Tensor,
    *,
    kind: Kind,
    extension: Extension,
    margin_grad: MarginGrad,
    num_classes: int | None = None,
    validate: bool = False,
) -> MarginArguments:
    """Normalize the arguments of `fairloss_ext.margin_softmax_loss` that belong to the target.

    Args:
        labels: (B,) int32 or int64.
        margins: for all samples, for each class or for each group.
        groups: (C,) row of `margins` for each class.
        sample_margins: in place of `margins` and `groups`.
        scale: (), of the dtype and on the device of the cosines.
        kind: one of `KINDS`; "combined" follows from a trailing dimension of 3.
        extension: one of `EXTENSIONS`.
        margin_grad: one of `MARGIN_GRADS`.
        num_classes: C, where it is known.
        validate: check values on a GPU too, which synchronizes it.
    """
    labels = as_labels(labels)
    check_device(scale.device, labels=labels)
    check_choice("kind", kind, KINDS)
    check_choice("extension", extension, EXTENSIONS)
    check_choice("margin_grad", margin_grad, MARGIN_GRADS)
    name, values, rows = _margin_rows(margins, groups, sample_margins, kind, scale)
    if values.dim() == 2 and values.shape[1] == 3:
        kind = "combined"
    elif values.dim() != 1 or kind == "combined":
        columns = "a trailing dimension of 3" if kind == "combined" else "one number a row"
        expect(False, name, f"{columns} with kind {kind!r}", values)
    if groups is not None:
        expect(rows == "per_class", "margins", "one row a group", "one margin for all")
        is_vector = groups.dtype in INTEGER_DTYPES and groups.dim() == 1
        expect(is_vector, "groups", "(C,) integers", groups)
        name, groups = "groups", groups.to(device=scale.device, dtype=torch.int64)
    if rows == "per_class":
        length = len(values if groups is None else groups)
        if num_classes not in (None, length):
            expect(False, name, f"one row a class, {num_classes}", length)
        num_classes = length
    elif num_classes is None:
        num_classes = torch.iinfo(torch.int64).max
    arguments = MarginArguments(
        labels, values, groups, scale, num_classes, rows, kind, extension, margin_grad
    )
    if validate:
        arguments.check_values(synchronize=True)
    return arguments


def _margin_rows(
    margins: Numbers | None,
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
    if margins is None:
        raise ValueError("margins: expected a number, a (C,) or a (G,) tensor, got None")
    values = as_tensor(margins, scale.dtype, scale.device)
    if values.dim() == (1 if kind == "combined" else 0):
        return "margins", values[None], "one"
    return "margins", values, "per_class"


def gradient_shape(margins: Tensor, rows: int) -> tuple[int, ...]:
    """Return the shape of the gradient of `margins`.

    A table with one row a sample has -1 rows: its length must not become a constant of the graph.
    """
    return (-1 if ROWS[rows] == "per_sample" else margins.shape[0], *margins.shape[1:])
