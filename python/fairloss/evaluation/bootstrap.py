"""Identity-clustered bootstrap: intervals of any statistic, and a check of those of reports.

Pairs that share an identity are not independent, so identities are drawn, not pairs. An identity
drawn c times counts as c different identities with the same photos: a genuine pair of identity i
weighs c_i, an impostor pair of i and j weighs c_i c_j. Two copies of one identity are never
compared. Trials, such as the probes of an identification, weigh as often as their cluster is drawn.
The intervals are too narrow below about 100 identities, and up to 1.7 times too wide on lists in
which an identity is in one or two pairs; those of `intervals` are not.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_integer, check_number, check_shape, expect
from fairloss.evaluation.clusters import paired_identities
from fairloss.evaluation.pairs import Pairs, identity_index
from fairloss.evaluation.roc import Roc, RocCorners
from fairloss.typing import Float64s

RocStatistic = Callable[[Roc], float]
Key = TypeVar("Key", bound=Hashable)
WeightedStatistics = Callable[[Float64s], Mapping[Key, float | None]]


@dataclass(frozen=True)
class Interval:
    """A statistic and its percentile bootstrap interval.

    Attributes:
        value: the statistic on the data itself.
        low: percentile (1 - confidence) / 2 of the replicates.
        high: percentile (1 + confidence) / 2 of the replicates.
        replicates: number of replicates drawn.
        undefined: number of replicates dropped: no genuine or no impostor pair was left, or
            the statistic was None.
        confidence: nominal coverage.
    """

    value: float
    low: float
    high: float
    replicates: int
    undefined: int
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, JSON-ready."""
        return asdict(self)


def identity_bootstrap(
    statistic: Callable[[Float64s], float | None],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Compute the interval of any statistic of weighted pairs.

    Args:
        statistic: maps (P,) float64 weights to its value, None where undefined; called only
            with weights that leave a genuine and an impostor pair.
        pairs: P pairs.
        identities: (N,) integers or strings, of the samples the pairs name.
        replicates: number of bootstrap replicates.
        seed: of the draws; equal seeds give equal draws.
        confidence: in (0, 1).

    Raises:
        ValueError: the statistic is undefined on the data or on every replicate, `pairs` and
            `identities` disagree, or fewer than 2 identities appear in the pairs.
    """
    intervals = pair_intervals(
        lambda weights: {"statistic": statistic(weights)},
        pairs, identities, replicates, seed, confidence,
    )  # fmt: skip
    return _defined(intervals)["statistic"]


def roc_intervals(
    scores: npt.ArrayLike,
    statistics: Mapping[str, RocStatistic],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Compute the interval of each statistic of the ROC, all from the same replicates.

    Args:
        scores: (P,) finite, higher means more similar.
        statistics: name -> function of a `Roc`, such as `Roc.auc`.
        pairs: P pairs.
        identities: (N,) integers or strings, of the samples of the pairs.
        replicates: number of bootstrap replicates.
        seed: of the draws; equal seeds give equal draws.
        confidence: in (0, 1).
    """
    weighted = _roc_statistics(scores, statistics, pairs)
    return _defined(pair_intervals(weighted, pairs, identities, replicates, seed, confidence))


def paired_difference(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    statistics: Mapping[str, RocStatistic],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Compute the interval of statistic(b) - statistic(a), under the same weights of both.

    Args:
        scores_a: (P,) finite, scores of the pairs by one model.
        scores_b: (P,) finite, scores of the same pairs by another.
        statistics: name -> function of a `Roc`, such as `Roc.auc`.
        pairs: P pairs.
        identities: (N,) integers or strings, of the samples of the pairs.
        replicates: number of bootstrap replicates.
        seed: of the draws; equal seeds give equal draws.
        confidence: in (0, 1).
    """
    a, b = (_roc_statistics(scores, statistics, pairs) for scores in (scores_a, scores_b))
    weighted = difference_of(a, b)
    return _defined(pair_intervals(weighted, pairs, identities, replicates, seed, confidence))


def difference_of(
    a: WeightedStatistics[Key], b: WeightedStatistics[Key]
) -> WeightedStatistics[Key]:
    """Return the statistics of b minus those of a; None where either is None."""

    def difference(weights: Float64s) -> dict[Key, float | None]:
        x, y = a(weights), b(weights)
        both = {name: (x[name], y[name]) for name in x if name in y}
        return {name: None if x is None or y is None else y - x for name, (x, y) in both.items()}

    return difference


def identity_weights(
    pairs: Pairs, identities: npt.ArrayLike, replicates: int, seed: int
) -> Iterator[Float64s]:
    """Yield the (P,) pair weights of each replicate.

    As many identities are drawn, with replacement, as appear in the pairs. A published list may
    call two photos of one identity an impostor pair; it weighs c_i as well.
    """
    first, second = paired_identities(pairs, identities)
    count = int(max(first.max(), second.max())) + 1
    second[first == second] = count  # a number beyond all identities, always drawn once
    for multiplicity in draws(count, replicates, seed):
        yield multiplicity[first] * np.append(multiplicity, 1.0)[second]


def draws(count: int, replicates: int, seed: int) -> Iterator[Float64s]:
    """Yield the (count,) multiplicities of `count` draws with replacement, for each replicate."""
    generator = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(generator.integers(count, size=count), minlength=count).astype(np.float64)


def pair_intervals(
    statistics: WeightedStatistics[Key],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[Key, Interval | None]:
    """Compute the intervals of several statistics of pair weights, from the same replicates.

    None where a statistic is undefined on the data or on every replicate.
    """
    genuine = np.flatnonzero(pairs.genuine)
    both_classes = (
        weights
        for weights in identity_weights(pairs, identities, replicates, seed)
        if 0 < weights[genuine].sum() < weights.sum()  # exact: whole numbers
    )
    return intervals(statistics, len(pairs), both_classes, replicates, confidence)


def intervals(
    statistics: WeightedStatistics[Key],
    size: int,
    weights: Iterable[Float64s],
    replicates: int,
    confidence: float = 0.95,
) -> dict[Key, Interval | None]:
    """Compute the intervals of statistics of (size,) weights from the weights of each replicate.

    Weights that are missing from `replicates` count as replicates on which all are undefined.
    """
    check_integer("replicates", replicates)
    check_number("confidence", confidence, 0, 1, open_low=True, open_high=True)
    value = statistics(np.ones(size))
    drawn: dict[Key, list[float]] = {name: [] for name in value}
    for each in weights:
        for name, replicate in statistics(each).items():
            if replicate is not None:
                drawn[name].append(replicate)
    return {
        name: _percentiles(value[name], values, replicates, confidence)
        for name, values in drawn.items()
    }


def cluster_intervals(
    statistics: WeightedStatistics[Key],
    clusters: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[Key, Interval | None]:
    """Compute the intervals of several statistics of (T,) trial weights, from the same replicates.

    A trial weighs as often as its cluster is drawn. None where a statistic is undefined on the data
    or on every replicate.

    Args:
        statistics: maps (T,) float64 weights to values by name, None where undefined.
        clusters: (T,) integers or strings, such as the identity of each trial.
        replicates: number of bootstrap replicates.
        seed: of the draws; equal seeds give equal draws.
        confidence: in (0, 1).
    """
    index = identity_index(clusters)
    weights = (drawn[index] for drawn in draws(int(index.max()) + 1, replicates, seed))
    return intervals(statistics, len(index), weights, replicates, confidence)


def cluster_mean(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Average (T,) values, with an interval that draws whole clusters, with replacement.

    For the difference of two models pass the differences of their values: both see the same draws.

    Args:
        values: (T,) finite, such as hits 0 or 1.
        clusters: (T,) integers or strings, such as the identity of each trial.
        replicates: number of bootstrap replicates.
        seed: of the draws; equal seeds give equal draws.
        confidence: in (0, 1).

    Raises:
        ValueError: lengths differ, or there is no value.
    """
    array, shape = np.asarray(values, dtype=np.float64), np.shape(clusters)
    expect(array.size, "values", "at least one", "none")
    check_shape("values", array, *shape)
    intervals = cluster_intervals(
        lambda weights: {"mean": float(weights @ array / weights.sum())},
        clusters, replicates, seed, confidence,
    )  # fmt: skip
    return _defined(intervals)["mean"]


def _percentiles(
    value: float | None, drawn: list[float], replicates: int, confidence: float
) -> Interval | None:
    if value is None or not drawn:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    dropped = replicates - len(drawn)
    return Interval(float(value), float(low), float(high), replicates, dropped, confidence)


def _defined(intervals: Mapping[str, Interval | None]) -> dict[str, Interval]:
    defined = {name: interval for name, interval in intervals.items() if interval is not None}
    expect(
        len(defined) == len(intervals),
        "statistics",
        "numbers on the data and on some replicate",
        f"None of {', '.join(intervals.keys() - defined.keys())}",
    )
    return defined


def _roc_statistics(
    scores: npt.ArrayLike, statistics: Mapping[str, RocStatistic], pairs: Pairs
) -> WeightedStatistics[str]:
    corners = RocCorners(scores, pairs.genuine)

    def evaluate(weights: Float64s) -> dict[str, float | None]:
        roc = corners.roc(weights)
        return {name: None if roc is None else f(roc) for name, f in statistics.items()}

    return evaluate
