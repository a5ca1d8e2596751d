"""`fairloss_ext.class_statistics` in plain torch."""

from __future__ import annotations

import math

import numpy.typing as npt
import torch
from torch import Tensor

from fairloss_ext._arguments import as_labels, as_matrix, check_range, check_shape
from fairloss_ext._statistics import ClassStatistics
from fairloss_ext.reference.cosine_partition import full_precision, unit

CHUNK = 4096  # rows at a time: a memory map need not fit in memory


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
    for rows, where in _chunks(matrix, classes):
        total.index_add_(0, where, rows.double())
    center = unit(total).float()
    center[empty] = math.nan

    angle = matrix.new_zeros(num_classes, dtype=torch.float64)
    variance = torch.zeros_like(angle)
    for rows, where in _chunks(matrix, classes):
        angle.index_add_(0, where, _angle(rows, center[where]))
        chord = (rows - center[where]).double().square().sum(dim=1)
        variance.index_add_(0, where, chord / 2)  # 1 - cos of unit vectors
    several = count > 1
    angle = torch.where(several, angle / count, torch.where(empty, math.nan, 0.0))
    variance = torch.where(several, variance / (count - 1), torch.where(empty, math.nan, 0.0))

    nearest = _nearest(center)
    inter = _angle(center, center[nearest.clamp(min=0)])
    inter = torch.where(nearest >= 0, inter, math.nan)
    return ClassStatistics(count, center, angle.float(), variance.float(), inter.float(), nearest)


def _chunks(matrix: Tensor, classes: Tensor):  # type: ignore[no-untyped-def]
    for first in range(0, len(matrix), CHUNK):
        where = classes[first : first + CHUNK]
        counts = where >= 0
        yield unit(matrix[first : first + CHUNK][counts].float()), where[counts]


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angles between unit rows by Kahan's formula, accurate at 0 and pi alike."""
    difference = torch.linalg.vector_norm((a - b).double(), dim=1)
    return 2 * torch.atan2(difference, torch.linalg.vector_norm((a + b).double(), dim=1))


def _nearest(center: Tensor) -> Tensor:
    comparable = torch.where(center.isnan(), -math.inf, 0.0).amin(dim=1)  # (C,)
    nearest = torch.full((len(center),), -1, dtype=torch.int64, device=center.device)
    for first in range(0, len(center), CHUNK):
        block = center[first : first + CHUNK]
        with full_precision(center.device):
            cosine = torch.nan_to_num(block @ center.T) + comparable
        cosine.diagonal(first).fill_(-math.inf)
        best, at = cosine.max(dim=1)
        found = best.isfinite() & comparable[first : first + CHUNK].isfinite()
        nearest[first : first + CHUNK] = torch.where(found, at, -1)
    return nearest
