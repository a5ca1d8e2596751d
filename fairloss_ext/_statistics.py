"""Result type of `class_statistics`."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ClassStatistics(NamedTuple):
    """Intra- and inter-class statistics; all of length C, angles in radians."""

    count: Tensor  # type: ignore[assignment]  # (C,) int64, images; hides tuple.count
    center: Tensor  # (C, D) float32, normalized mean of the unit embeddings
    intra_angle: Tensor  # (C,) float32, mean angle between sample and center
    intra_variance: Tensor  # (C,) float32, n/(n-1) mean(1 - cos(sample, center)); 0 where n = 1
    inter_angle: Tensor  # (C,) float32, angle to the nearest other center
    nearest_class: Tensor  # (C,) int64, the class of that center; -1: there is none
