"""Cluster bootstrap over trials, where trials of one person are not independent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import (
    Interval,
    Key,
    WeightedStatistics,
    check_bootstrap,
    draws,
    intervals,
)
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
    array, index = np.asarray(values, dtype=np.float64), identity_index(clusters)
    if array.shape != index.shape or not len(array):
        raise ValueError(f"values must have shape {index.shape} as clusters, got {array.shape}")
    found = cluster_intervals(
        lambda weights: {"mean": float(weights @ array / weights.sum())},
        clusters,
        replicates,
        seed,
        confidence,
    )["mean"]
    assert found is not None  # every draw draws somebody
    return found


def cluster_intervals(
    statistics: WeightedStatistics[Key],
    clusters: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[Key, Interval | None]:
    """Intervals of several statistics of (T,) trial weights, all from the same replicates.

    A trial weighs as often as its cluster is drawn. None where a statistic is undefined on the data
    or on every replicate.

    Args:
        statistics: maps (T,) float64 weights to values by name, None where undefined.
        clusters, replicates, seed, confidence: as in `cluster_mean`.
    """
    check_bootstrap(replicates, confidence)
    index = identity_index(clusters)
    weights = (drawn[index] for drawn in draws(int(index.max()) + 1, replicates, seed))
    return intervals(statistics, len(index), weights, replicates, confidence)
