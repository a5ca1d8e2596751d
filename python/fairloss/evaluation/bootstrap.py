"""Identity-clustered bootstrap.

Pairs that share a person are not independent, so people are drawn, not pairs. An identity
drawn c times counts as c different people with the same photos: a genuine pair of identity i
weighs c_i, an impostor pair of i and j weighs c_i c_j. Two copies of one identity are never
compared. Resampling pairs instead gives intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.curve import Roc, RocCorners
from fairloss.evaluation.pairs import Pairs, identity_index

Weights = npt.NDArray[np.float64]
RocStatistic = Callable[[Roc], float]
Key = TypeVar("Key", bound=Hashable)
WeightedStatistics = Callable[[Weights], Mapping[Key, float | None]]


@dataclass(frozen=True)
class Interval:
    """A statistic and its percentile bootstrap interval.

    Attributes:
        value: the statistic on the data itself.
        low, high: percentiles (1 -+ confidence) / 2 of the replicates.
        replicates: number of replicates drawn.
        undefined: how many of them were dropped: no genuine or no impostor pair was left, or
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
        """JSON-ready."""
        return asdict(self)


def identity_bootstrap(
    statistic: Callable[[Weights], float | None],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Interval of any statistic of weighted pairs.

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

    def named(weights: Weights) -> dict[str, float | None]:
        return {"statistic": statistic(weights)}

    found = pair_intervals(named, pairs, identities, replicates, seed, confidence)
    return _defined(found)["statistic"]


def roc_intervals(
    scores: npt.ArrayLike,
    statistics: Mapping[str, RocStatistic],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Interval of each statistic of the ROC, all from the same replicates.

    Args:
        scores: (P,) finite, higher means more similar.
        statistics: name -> function of a `Roc`, such as `Roc.auc`.
        pairs, identities, replicates, seed, confidence: as in `identity_bootstrap`.
    """
    of_scores = _of_curve(scores, statistics, pairs)
    return _defined(pair_intervals(of_scores, pairs, identities, replicates, seed, confidence))


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
    """Interval of statistic(b) - statistic(a), both under the same weights in each replicate.

    Args:
        scores_a, scores_b: (P,) finite, scores of the same pairs by two models.
        statistics: name -> function of a `Roc`, such as `Roc.auc`.
        pairs, identities, replicates, seed, confidence: as in `identity_bootstrap`.
    """
    a, b = (_of_curve(scores, statistics, pairs) for scores in (scores_a, scores_b))
    found = pair_intervals(minus(b, a), pairs, identities, replicates, seed, confidence)
    return _defined(found)


def minus(b: WeightedStatistics[Key], a: WeightedStatistics[Key]) -> WeightedStatistics[Key]:
    """Statistics of b minus those of a under the same weights; None where either is None."""

    def difference(weights: Weights) -> dict[Key, float | None]:
        of_a, of_b = a(weights), b(weights)
        both = {name: (of_a[name], of_b[name]) for name in of_a if name in of_b}
        return {name: None if x is None or y is None else y - x for name, (x, y) in both.items()}

    return difference


def identity_weights(
    pairs: Pairs, identities: npt.ArrayLike, replicates: int, seed: int
) -> Iterator[Weights]:
    """Yield the (P,) pair weights of each replicate.

    As many identities are drawn, with replacement, as appear in the pairs. A published list may
    call two photographs of one person an impostor pair; it weighs c_i as well.
    """
    index = identity_index(identities)
    first, second = index[pairs.first], index[pairs.second]
    if not (first == second)[pairs.genuine].all():
        raise ValueError("pairs.genuine does not agree with identities")
    present = np.zeros(int(index.max(initial=-1)) + 1, dtype=np.bool_)
    present[first] = present[second] = True
    number, count = np.cumsum(present) - 1, int(present.sum())
    first, second = number[first], number[second]
    if count < 2:
        raise ValueError(f"pairs must compare at least 2 identities, got {count}")
    second[first == second] = count  # a number of its own, always drawn once
    for multiplicity in draws(count, replicates, seed):
        yield multiplicity[first] * np.append(multiplicity, 1.0)[second]


def draws(count: int, replicates: int, seed: int) -> Iterator[Weights]:
    """Yield (count,) how often each of `count` is drawn in `count` draws with replacement."""
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
    """`identity_bootstrap` of several named statistics, all from the same replicates.

    None where a statistic is undefined on the data or on every replicate.
    """
    check_bootstrap(replicates, confidence)
    genuine = np.flatnonzero(pairs.genuine)
    kept = (
        weights
        for weights in identity_weights(pairs, identities, replicates, seed)
        if 0 < weights[genuine].sum() < weights.sum()  # exact: whole numbers
    )
    return intervals(statistics, len(pairs), kept, replicates, confidence)


def intervals(
    statistics: WeightedStatistics[Key],
    size: int,
    weights: Iterable[Weights],
    replicates: int,
    confidence: float = 0.95,
) -> dict[Key, Interval | None]:
    """Intervals of statistics of (size,) weights, given the weights of each replicate.

    Fewer weights than `replicates` count as replicates on which all are undefined.
    """
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


def check_bootstrap(replicates: int, confidence: float) -> None:
    """ValueError unless there is a replicate and the confidence is a probability."""
    if replicates < 1 or not 0 < confidence < 1:
        raise ValueError(
            "need replicates >= 1 and confidence in (0, 1), "
            f"got replicates = {replicates} and confidence = {confidence}"
        )


def _percentiles(
    value: float | None, drawn: list[float], replicates: int, confidence: float
) -> Interval | None:
    if value is None or not drawn:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    dropped = replicates - len(drawn)
    return Interval(float(value), float(low), float(high), replicates, dropped, confidence)


def _defined(found: Mapping[str, Interval | None]) -> dict[str, Interval]:
    defined = {name: interval for name, interval in found.items() if interval is not None}
    for name in found:
        if name not in defined:
            raise ValueError(f"{name} is undefined on the data or on all replicates")
    return defined


def _of_curve(
    scores: npt.ArrayLike, statistics: Mapping[str, RocStatistic], pairs: Pairs
) -> WeightedStatistics[str]:
    corners = RocCorners(scores, pairs.genuine)

    def evaluate(weights: Weights) -> dict[str, float | None]:
        roc = corners.roc(weights)
        return {name: None if roc is None else of(roc) for name, of in statistics.items()}

    return evaluate
