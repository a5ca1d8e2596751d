"""Cluster bootstrap of a mean over trials, where trials of one person are not independent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import Interval, check_bootstrap, percentile_interval
from fairloss.evaluation.pairs import identity_index


def cluster_mean(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Mean of (T,) values with an interval that draws whole clusters, with replacement.

    For the difference of two models pass the differences of their values: both see the same draws.

    Args:
        values: (T,) finite, such as hits 0 or 1.
        clusters: (T,) integers or strings, such as the person of each trial.
        replicates, seed, confidence: as in `identity_bootstrap`.

    Raises:
        ValueError: lengths differ, or there is no value.
    """
    check_bootstrap(replicates, confidence)
    array, index = np.asarray(values, dtype=np.float64), identity_index(clusters)
    if array.shape != index.shape or not len(array):
        raise ValueError(f"values must have shape {index.shape} as clusters, got {array.shape}")
    drawn = cluster_means(array, index, replicates, seed)
    return percentile_interval("mean", float(array.mean()), drawn, replicates, confidence)


def cluster_means(
    values: npt.NDArray[np.float64], index: npt.NDArray[np.int64], replicates: int, seed: int
) -> npt.NDArray[np.float64]:
    """(replicates,) means; `index` numbers the clusters 0, 1, ..."""
    sums, sizes = np.bincount(index, weights=values), np.bincount(index).astype(np.float64)
    count = len(sizes)
    generator = np.random.default_rng(seed)
    means = np.empty(replicates)
    for replicate in range(replicates):
        drawn = np.bincount(generator.integers(count, size=count), minlength=count)
        means[replicate] = drawn @ sums / (drawn @ sizes)
    return means
