"""`fairloss_ext.class_statistics` in plain torch."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._arguments import as_labels, as_matrix
from fairloss_ext._checks import check_range, check_shape
from fairloss_ext.numerics import full_precision, unit_rows

CHUNK = 4096  # rows at a time: a memory map need not fit in memory


class ClassStatistics(NamedTuple):
    """Intra- and inter-class statistics; all of length C, angles in radians."""

    count: Tensor  # type: ignore[assignment]  # (C,) int64, images; hides tuple.count
    center: Tensor  # (C, D) float32, normalized mean of the unit embeddings
    intra_angle: Tensor  # (C,) float32, mean angle between sample and center
    intra_variance: Tensor  # (C,) float32, n/(n-1) mean(1 - cos(sample, center)); 0 where n = 1
    inter_angle: Tensor  # (C,) float32, angle to the nearest other center
    nearest_class: Tensor  # (C,) int64, the class of that center; -1: there is none


def class_statistics(
    embeddings: Tensor | npt.ArrayLike,  # (N, D)
    labels: Tensor | npt.ArrayLike,  # (N,)
    num_classes: int,
) -> ClassStatistics:
    """See `fairloss_ext.class_statistics`."""
    matrix = as_matrix("embeddings", embeddings)
    classes = as_labels(torch.as_tensor(labels)).to(matrix.device)
    check_shape("labels", classes, len(matrix))
    check_range("labels", classes, -1, num_classes)
    count = torch.bincount(classes[classes >= 0], minlength=num_classes)
    empty = count == 0

    total = matrix.new_zeros((num_classes, matrix.shape[1]), dtype=torch.float64)
    for rows, labels_of_rows in _unit_chunks(matrix, classes):
        total.index_add_(0, labels_of_rows, rows.double())
    center = unit_rows(total).float()
    center[empty] = math.nan

    angle = matrix.new_zeros(num_classes, dtype=torch.float64)
    variance = torch.zeros_like(angle)
    for rows, labels_of_rows in _unit_chunks(matrix, classes):
        centers = center[labels_of_rows]
        angle.index_add_(0, labels_of_rows, _angle(rows, centers))
        chord = (rows - centers).double().square().sum(dim=1)
        variance.index_add_(0, labels_of_rows, chord / 2)  # 1 - cos of unit vectors
    several = count > 1
    angle = torch.where(several, angle / count, torch.where(empty, math.nan, 0.0))
    variance = torch.where(several, variance / (count - 1), torch.where(empty, math.nan, 0.0))

    nearest = _nearest(center)
    inter = torch.where(nearest >= 0, _angle(center, center[nearest.clamp(min=0)]), math.nan)
    return ClassStatistics(count, center, angle.float(), variance.float(), inter.float(), nearest)


def _unit_chunks(matrix: Tensor, classes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the unit rows that have a class, and their classes."""
    for rows, labels in zip(matrix.split(CHUNK), classes.split(CHUNK), strict=True):
        labeled = labels >= 0
        yield unit_rows(rows[labeled].float()), labels[labeled]


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Compute the angles between unit rows by Kahan's formula, accurate at 0 and pi alike."""
    difference = torch.linalg.vector_norm((a - b).double(), dim=1)
    return 2 * torch.atan2(difference, torch.linalg.vector_norm((a + b).double(), dim=1))


def _nearest(center: Tensor) -> Tensor:
    """Return (C,) the class with the nearest center; -1: there is none, or the center is NaN."""
    invalid = center.isnan().any(dim=1)  # (C,)
    nearest = torch.full_like(invalid, -1, dtype=torch.int64)
    for first in range(0, len(center), CHUNK):
        chunk = slice(first, first + CHUNK)
        with full_precision(center.device):
            cosine = center[chunk] @ center.T
        cosine.masked_fill_(invalid, -math.inf).masked_fill_(invalid[chunk, None], -math.inf)
        cosine.diagonal(first).fill_(-math.inf)
        largest, neighbor = cosine.max(dim=1)
        nearest[chunk] = torch.where(largest.isfinite(), neighbor, -1)
    return nearest
