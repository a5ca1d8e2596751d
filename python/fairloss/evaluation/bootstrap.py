"""Identity-clustered bootstrap.

Pairs that share a person are not independent, so people are drawn, not pairs. An identity
drawn c times counts as c different people with the same photos: a genuine pair of identity i
weighs c_i, an impostor pair of i and j weighs c_i c_j. Two copies of one identity are never
compared. Resampling pairs instead gives intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.curve import Roc, SortedScores
from fairloss.evaluation.pairs import Pairs, identity_index

Weights = npt.NDArray[np.float64]
RocStatistic = Callable[[Roc], float]


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

    return pair_intervals(named, pairs, identities, replicates, seed, confidence)["statistic"]


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
    ranked = SortedScores(scores, pairs.genuine)

    def evaluate(weights: Weights) -> dict[str, float]:
        roc = ranked.roc(weights)
        return {name: statistic(roc) for name, statistic in statistics.items()}

    return pair_intervals(evaluate, pairs, identities, replicates, seed, confidence)


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
    ranked_a = SortedScores(scores_a, pairs.genuine)
    ranked_b = SortedScores(scores_b, pairs.genuine)

    def difference(weights: Weights) -> dict[str, float]:
        a, b = ranked_a.roc(weights), ranked_b.roc(weights)
        return {name: statistic(b) - statistic(a) for name, statistic in statistics.items()}

    return pair_intervals(difference, pairs, identities, replicates, seed, confidence)


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
    present, numbers = np.unique(np.concatenate((first, second)), return_inverse=True)
    first, second = np.split(numbers, 2)
    count = len(present)
    if count < 2:
        raise ValueError(f"pairs must compare at least 2 identities, got {count}")
    across = np.flatnonzero(first != second)
    second = second[across]
    generator = np.random.default_rng(seed)
    for _ in range(replicates):
        draws = generator.integers(count, size=count)
        multiplicity = np.bincount(draws, minlength=count).astype(np.float64)
        weights = multiplicity[first]
        weights[across] *= multiplicity[second]
        yield weights


def pair_intervals(
    statistics: Callable[[Weights], Mapping[str, float | None]],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """`identity_bootstrap` of several named statistics, all from the same replicates."""
    check_bootstrap(replicates, confidence)
    value = statistics(np.ones(len(pairs)))
    drawn: dict[str, list[float]] = {name: [] for name in value}
    for weights in identity_weights(pairs, identities, replicates, seed):
        if not weights[pairs.genuine].any() or not weights[~pairs.genuine].any():
            continue
        for name, replicate in statistics(weights).items():
            if replicate is not None:
                drawn[name].append(replicate)
    return {
        name: percentile_interval(name, value[name], values, replicates, confidence)
        for name, values in drawn.items()
    }


def check_bootstrap(replicates: int, confidence: float) -> None:
    """ValueError unless there is a replicate and the confidence is a probability."""
    if replicates < 1 or not 0 < confidence < 1:
        raise ValueError(
            "need replicates >= 1 and confidence in (0, 1), "
            f"got replicates = {replicates} and confidence = {confidence}"
        )


def percentile_interval(
    name: str, value: float | None, drawn: npt.ArrayLike, replicates: int, confidence: float
) -> Interval:
    """The interval of the replicates that are defined; ValueError if there is none."""
    values = np.asarray(drawn, dtype=np.float64)
    if value is None or not len(values):
        raise ValueError(f"{name} is undefined on the data or on all {replicates} replicates")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    dropped = replicates - len(values)
    return Interval(float(value), float(low), float(high), replicates, dropped, confidence)
