"""Racial Faces in the Wild: four subsets scored apart, and how far they are from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import (
    Interval,
    WeightedStatistics,
    Weights,
    check_bootstrap,
    identity_weights,
    intervals,
)
from fairloss.evaluation.insightface import insightface_verification
from fairloss.evaluation.pairs import Pairs, pair_scores
from fairloss.evaluation.statistics import UNMEASURED, Place, Resample, compare, with_intervals
from fairloss.evaluation.ten_fold import PairStatistics, pairs_header

CONFIDENCE = 0.95


class PairSet(NamedTuple):
    """One list of pairs with its features, as `evaluate_pair_list` takes them."""

    embeddings: npt.ArrayLike
    pairs: Pairs
    fold_of_pair: npt.ArrayLike
    identities: npt.ArrayLike


def evaluate_rfw(
    subsets: Mapping[str, PairSet], *, replicates: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Ten-fold accuracy of each subset, their mean and spread, and the skewed error ratio.

    Thresholds are chosen within each subset, as published: the summary says nothing about one
    threshold for all (see `evaluate_groups`). The skewed error ratio is the largest over the
    smallest error (Wang and Deng, "Mitigating Bias in Face Recognition Using Skewness-Aware
    Reinforcement Learning", CVPR 2020). Subsets are resampled apart, by identity.

    Args:
        subsets: name -> its pairs; RFW has African, Asian, Caucasian and Indian.
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: "subsets" (name -> as `evaluate_pair_list`), "mean", "std"
        (population) and "skewed_error_ratio" (an interval each, or why there is none) and "worst",
        the subset with the lowest accuracy.

    Raises:
        ValueError: fewer than 2 subsets, or as `evaluate_pair_list`.
    """
    statistics = RfwStatistics(subsets, seed)
    report = with_intervals(statistics, _resample(subsets, replicates, seed))
    for name, subset in subsets.items():
        insightface = insightface_verification(*subset[:3])
        report["subsets"][name]["insightface"] = insightface.as_dict()
    return report


def compare_rfw(
    a: Mapping[str, PairSet], b: Mapping[str, PairSet], *, replicates: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Two models on the same subsets: b minus a of every number, both under the same draws.

    Returns:
        JSON-ready: as `compare`, in the layout of `evaluate_rfw`.

    Raises:
        ValueError: the subsets or their pairs differ, or as `evaluate_rfw`.
    """
    for name in a.keys() | b.keys():
        if name not in a or name not in b or not a[name].pairs.equal(b[name].pairs):
            raise ValueError(f"a and b must have the same subsets and pairs, not so in {name!r}")
    of_a, of_b = (RfwStatistics({name: each[name] for name in b}, seed) for each in (a, b))
    return compare(of_a, of_b, _resample(b, replicates, seed))


class RfwStatistics:
    """`PairStatistics` of each subset and their summary, of all subsets' weights in a row."""

    def __init__(self, subsets: Mapping[str, PairSet], seed: int = 0) -> None:
        if len(subsets) < 2:
            raise ValueError(f"subsets must be at least 2, got {list(subsets)}")
        self._of = {
            name: PairStatistics(
                pair_scores(s.embeddings, s.pairs), s.pairs.genuine, s.fold_of_pair
            )
            for name, s in subsets.items()
        }
        self._ends = np.cumsum([len(subset.pairs) for subset in subsets.values()])
        accuracy: dict[str, float] = {name: of.point["accuracy"] for name, of in self._of.items()}
        headers = {name: pairs_header(s.pairs, s.identities, seed) for name, s in subsets.items()}
        ratio = float(skewed_error_ratio(list(accuracy.values())))
        self.point: dict[str, Any] = {
            "subsets": {name: headers[name] | of.point for name, of in self._of.items()},
            "mean": float(np.mean(list(accuracy.values()))),
            "std": float(np.std(list(accuracy.values()))),
            "skewed_error_ratio": ratio
            if np.isfinite(ratio)
            else f"{UNMEASURED}: a subset has no error",
            "worst": min(accuracy, key=lambda name: accuracy[name]),
        }

    def weighted(self, weights: Weights) -> dict[Place, float | None]:
        """Every number of every subset, "mean", "std" and "skewed_error_ratio"."""
        found: dict[Place, float | None] = {}
        for (name, of), part in zip(
            self._of.items(), np.split(weights, self._ends[:-1]), strict=True
        ):
            found |= {("subsets", name, *place): v for place, v in of.weighted(part).items()}
        return found | _summary([found["subsets", name, "accuracy"] for name in self._of])


def skewed_error_ratio(accuracies: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Largest over smallest error along the first axis; infinite where a group has no error."""
    error = 1 - np.asarray(accuracies, dtype=np.float64)
    largest, smallest = error.max(axis=0), error.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(smallest > 0, largest / smallest, np.inf)


def _summary(accuracies: Sequence[float | None]) -> dict[Place, float | None]:
    """None where a subset lost a class, or a ratio where one has no error."""
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(known) < len(accuracies):
        return {("mean",): None, ("std",): None, ("skewed_error_ratio",): None}
    ratio = float(skewed_error_ratio(known))
    return {
        ("mean",): float(np.mean(known)),
        ("std",): float(np.std(known)),
        ("skewed_error_ratio",): ratio if np.isfinite(ratio) else None,
    }


def _resample(subsets: Mapping[str, PairSet], replicates: int, seed: int) -> Resample:
    """People of each subset are drawn apart, with a seed of its own: the subsets share nobody."""

    def resample(statistics: WeightedStatistics[Place]) -> dict[Place, Interval | None]:
        check_bootstrap(replicates, CONFIDENCE)
        drawn = [
            identity_weights(subset.pairs, subset.identities, replicates, seed + number)
            for number, subset in enumerate(subsets.values())
        ]
        weights = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        size = sum(len(subset.pairs) for subset in subsets.values())
        return intervals(statistics, size, weights, replicates, CONFIDENCE)

    return resample
