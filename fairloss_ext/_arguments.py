"""Normalization of the arguments of public functions to the form that the ops take."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._checks import (
    INTEGER_DTYPES,
    check_choice,
    check_device,
    check_floats,
    check_integers,
    check_range,
    expect,
)
from fairloss_ext.options import (
    COMPUTE_DTYPES,
    EXTENSIONS,
    KINDS,
    MARGIN_GRADS,
    Extension,
    Kind,
    MarginGrad,
)

Numbers = Tensor | float | Sequence[float] | npt.NDArray[Any]
Layout = Literal["one", "per_class", "per_sample"]

# Positions are the values of Layout in csrc/include/fairloss/margin_table.h.
LAYOUTS: tuple[Layout, ...] = ("one", "per_class", "per_sample")


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
    return values.reshape(()) if values.dim() else values


def as_step(step: Tensor | int, device: torch.device) -> Tensor:
    """Return a 0-d int64 tensor, for the same reason."""
    if isinstance(step, Tensor):
        expect(step.numel() == 1 and step.dtype in INTEGER_DTYPES, "step", "one integer", step)
    return as_tensor(step, torch.int64, device).reshape(())


def as_labels(labels: Tensor, ignore_index: int = -1) -> Tensor:
    """Return (B,) int64 labels from (B,) or (B, 1) of any integer dtype.

    Those that equal `ignore_index` become -1.
    """
    check_integers("labels", labels)
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    labels = labels.to(torch.int64)
    return labels if ignore_index == -1 else labels.masked_fill(labels == ignore_index, -1)


def as_integers(name: str, values: Tensor | npt.ArrayLike) -> Tensor:
    """Return int64 from a tensor, an array or a sequence of integers."""
    integers = torch.as_tensor(values)
    if integers.numel():  # an empty list becomes float32
        check_integers(name, integers)
    return integers.to(torch.int64)


def as_cosines(cosine: Tensor) -> Tensor:
    """Return (B, C) float64 cosines as they are, others as float32."""
    expect(cosine.dim() == 2, "cosine", "shape (B, C)", cosine)
    return cosine if cosine.dtype == torch.float64 else cosine.float()


def as_matrix(name: str, values: Tensor | npt.ArrayLike) -> Tensor:
    """Return (N, D) floats from a tensor, an array or a memory map, without a needless copy."""
    with warnings.catch_warnings():  # a read-only memory map is only ever read
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        matrix = torch.as_tensor(values).detach()
    expect(
        matrix.dim() == 2 and matrix.is_floating_point(), name, "an (N, D) matrix of floats", matrix
    )
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
    check_floats("embeddings", embeddings)
    check_floats("weight", weight)
    labels = as_labels(labels)
    # The reference computes in float64 where one of the two has it.
    double = torch.float64 in (embeddings.dtype, weight.dtype)
    dtype = torch.float64 if double else torch.float32
    if compute_dtype is None:
        native = embeddings.is_cuda and embeddings.dtype in COMPUTE_DTYPES and not double
        compute_dtype = embeddings.dtype if native else torch.float32
    compute = check_choice("compute_dtype", compute_dtype, COMPUTE_DTYPES)
    device = embeddings.device
    check_device(device, weight=weight, labels=labels, hard_threshold=hard_threshold)
    expect(
        hard_threshold is None or hard_coefficients is not None,
        "hard_threshold",
        "together with hard_coefficients",
        "it alone",
    )
    expect(
        hard_coefficients is None or hard_threshold is not None,
        "hard_coefficients",
        "together with hard_threshold",
        "it alone",
    )
    return PartitionArguments(
        embeddings,
        weight,
        labels,
        as_scale(scale, dtype, device),
        None if hard_threshold is None else hard_threshold.detach().to(dtype),
        None if hard_coefficients is None else as_tensor(hard_coefficients, dtype, device).detach(),
        compute,
    )


class MarginArguments(NamedTuple):
    """Labels, margins and options of the target transform, as kernels read them."""

    labels: Tensor  # (B,) int64
    values: Tensor  # (R,), or (R, 3) with kind "combined"
    groups: Tensor | None  # (C,) int64 row of each class
    scale: Tensor  # (), of the dtype and on the device of the cosines
    num_classes: int  # C; without a limit where a table has no row for each class
    layout: Layout  # what has a row of `values`
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
            LAYOUTS.index(self.layout),
            KINDS.index(self.kind),
            EXTENSIONS.index(self.extension),
            self.margin_grad == "straight_through",
        )

    def check_values(self, *, synchronize: bool = False) -> None:
        """Raise ValueError unless every label and every group has a row; see `check_range`."""
        check_range("labels", self.labels, -1, self.num_classes, synchronize=synchronize)
        if self.groups is not None:
            check_range("groups", self.groups, 0, len(self.values), synchronize=synchronize)
        if self.layout == "per_sample" and len(self.values) != len(self.labels):
            expect(False, "sample_margins", f"{len(self.labels)} rows", len(self.values))


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
        labels: (B,) or (B, 1) integers.
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
    name, values, layout = _margin_rows(margins, groups, sample_margins, kind, scale)
    if values.dim() == 2 and values.shape[1] == 3:
        kind = "combined"
    elif values.dim() != 1 or kind == "combined":
        columns = "a trailing dimension of 3" if kind == "combined" else "one number a row"
        expect(False, name, f"{columns} with kind {kind!r}", values)
    if groups is not None:
        expect(layout == "per_class", "margins", "one row a group", "one margin for all")
        expect(
            groups.dtype in INTEGER_DTYPES and groups.dim() == 1, "groups", "(C,) integers", groups
        )
        name, groups = "groups", groups.to(device=scale.device, dtype=torch.int64)
    if layout == "per_class":
        length = len(values if groups is None else groups)
        if num_classes not in (None, length):
            expect(False, name, f"one row a class, {num_classes}", length)
        num_classes = length
    elif num_classes is None:
        num_classes = torch.iinfo(torch.int64).max
    arguments = MarginArguments(
        labels, values, groups, scale, num_classes, layout, kind, extension, margin_grad
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
) -> tuple[str, Tensor, Layout]:
    """Return the name of the argument that has the margins, its rows and their layout."""
    if sample_margins is not None:
        expect(
            margins is None and groups is None,
            "sample_margins",
            "margins=None and groups=None beside it",
            "both",
        )
        return "sample_margins", sample_margins.to(scale), "per_sample"
    if margins is None:
        raise ValueError("margins: expected a number, a (C,) or a (G,) tensor, got None")
    values = as_tensor(margins, scale.dtype, scale.device)
    if values.dim() == (1 if kind == "combined" else 0):
        return "margins", values[None], "one"
    return "margins", values, "per_class"


def gradient_shape(margins: Tensor, layout: int) -> tuple[int, ...]:
    """Return the shape of the gradient of `margins`.

    A table with one row a sample has -1 rows: its length must not become a constant of the graph.
    """
    return (-1 if LAYOUTS[layout] == "per_sample" else margins.shape[0], *margins.shape[1:])
