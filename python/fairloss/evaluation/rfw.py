"""Racial Faces in the Wild: accuracy of four subsets, and the differences between them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.evaluation.bootstrap import (
    Interval,
    WeightedStatistics,
    identity_weights,
    intervals,
)
from fairloss.evaluation.clusters import Clusters, paired_identities
from fairloss.evaluation.influence import (
    InfluenceFunction,
    summary_influences,
    within,
)
from fairloss.evaluation.insightface import insightface_verification
from fairloss.evaluation.pair_list import pairs_header
from fairloss.evaluation.pairs import Pairs, pair_scores
from fairloss.evaluation.protocol_report import (
    KeyPath,
    Sampling,
    Unmeasured,
    measured,
    optional_bootstrap,
    protocol_report,
)
from fairloss.evaluation.sides import matched_networks
from fairloss.evaluation.verification import PairStatistics
from fairloss.typing import Float64s, Ints


class PairSet(NamedTuple):
    """One list of pairs with its features, as `evaluate_pair_list` takes them."""

    embeddings: npt.ArrayLike
    pairs: Pairs
    fold_of_pair: npt.ArrayLike
    identities: npt.ArrayLike


def evaluate_rfw(
    subsets: Mapping[str, PairSet], *, replicates: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Compute the ten-fold accuracy of each subset, mean, spread and the skewed error ratio.

    Thresholds are chosen within each subset, as published; for one common
    threshold see `evaluate_groups`. The skewed error ratio is the largest over the
    smallest error (Wang and Deng, "Mitigating Bias in Face Recognition Using Skewness-Aware
    Reinforcement Learning", CVPR 2020). Subsets share no identity.

    Args:
        subsets: name -> its pairs; RFW has African, Asian, Caucasian and Indian.
        replicates: of the bootstrap that checks the intervals, 0 for none.
        seed: of the bootstrap.

    Returns:
        A JSON-ready report: "subsets" (name -> as `evaluate_pair_list`), "mean", "std"
        (population) and "skewed_error_ratio" (an interval each, or why there is none) and "worst",
        the subset with the lowest accuracy.

    Raises:
        ValueError: fewer than 2 subsets, or as `evaluate_pair_list`.
    """
    sampling = _sampling(subsets, replicates, seed)
    report = protocol_report([[RfwStatistics(subsets, seed)]], sampling)
    for name, subset in subsets.items():
        insightface = insightface_verification(*subset[:3])
        report["subsets"][name]["insightface"] = insightface.as_dict()
    return report


def compare_rfw(
    a: Mapping[str, PairSet] | Sequence[Mapping[str, PairSet]],
    b: Mapping[str, PairSet] | Sequence[Mapping[str, PairSet]],
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same subsets: b minus a of every number.

    A sequence of subsets is of several networks.

    Returns:
        JSON-ready: as `compare`, in the layout of `evaluate_rfw`.

    Raises:
        ValueError: the subsets or their pairs differ, or as `evaluate_rfw`.
    """
    sides = matched_networks(
        a,
        b,
        "the same subsets and pairs",
        lambda subsets: {name: subset.pairs for name, subset in subsets.items()},
        Pairs.equal,
    )
    first = sides[-1][0]
    statistics = [
        [RfwStatistics({name: subsets[name] for name in first}, seed) for subsets in side]
        for side in sides
    ]
    return protocol_report(statistics, _sampling(first, replicates, seed))


class RfwStatistics:
    """Numbers of each subset and their summary, of the concatenated pairs of all subsets."""

    def __init__(self, subsets: Mapping[str, PairSet], seed: int = 0) -> None:
        expect(len(subsets) >= 2, "subsets", "at least 2", list(subsets))
        self._statistics = {
            name: PairStatistics(
                pair_scores(s.embeddings, s.pairs), s.pairs.genuine, s.fold_of_pair
            )
            for name, s in subsets.items()
        }
        self._ends = np.cumsum([len(subset.pairs) for subset in subsets.values()])
        parts = {name: statistics.point for name, statistics in self._statistics.items()}
        accuracy: dict[str, float] = {name: part["accuracy"] for name, part in parts.items()}
        headers = {name: pairs_header(s.pairs, s.identities, seed) for name, s in subsets.items()}
        summary = _summary(list(accuracy.values()))
        self.point: dict[str, Any] = {
            "subsets": {name: headers[name] | part for name, part in parts.items()},
            "mean": summary["mean",],
            "std": summary["std",],
            "skewed_error_ratio": summary["skewed_error_ratio",]
            or Unmeasured("not measurable: a subset has no error"),
            "worst": min(accuracy, key=lambda name: accuracy[name]),
        }

    @property
    def influences(self) -> dict[KeyPath, InfluenceFunction]:
        """Every number of every subset, "mean", "std" and, with errors, "skewed_error_ratio"."""
        functions: dict[KeyPath, InfluenceFunction] = {}
        starts = [0, *self._ends[:-1]]
        for (name, part), start, end in zip(
            self._statistics.items(), starts, self._ends, strict=True
        ):
            rows = np.arange(start, end)
            for keys, function in part.influences.items():
                path = ("subsets", name, *keys)
                functions[path] = within(rows, function)
        parts = [functions["subsets", name, "accuracy"] for name in self._statistics]
        names = ("mean",), ("std",), ("skewed_error_ratio",)
        summary = summary_influences(parts, int(self._ends[-1]), errors=False)
        return functions | measured(self.point, dict(zip(names, summary, strict=True)))

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return every number of every subset, "mean", "std" and "skewed_error_ratio"."""
        numbers: dict[KeyPath, float | None] = {}
        parts = np.split(weights, self._ends[:-1])
        for (name, statistics), part in zip(self._statistics.items(), parts, strict=True):
            subset = statistics.weighted(part)
            numbers |= {("subsets", name, *keys): value for keys, value in subset.items()}
        return numbers | _summary([numbers["subsets", n, "accuracy"] for n in self._statistics])


def skewed_error_ratio(accuracies: npt.ArrayLike) -> Float64s:
    """Return largest over smallest error along the first axis; infinite where one is 0."""
    error = 1 - np.asarray(accuracies, dtype=np.float64)
    largest, smallest = error.max(axis=0), error.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(smallest > 0, largest / smallest, np.inf)


def _summary(accuracies: Sequence[float | None]) -> dict[KeyPath, float | None]:
    """Summarize: None where a subset lost a class, and for the ratio where one has no error."""
    defined = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(defined) < len(accuracies):
        return {("mean",): None, ("std",): None, ("skewed_error_ratio",): None}
    ratio = float(skewed_error_ratio(defined))
    return {
        ("mean",): float(np.mean(defined)),
        ("std",): float(np.std(defined)),
        ("skewed_error_ratio",): ratio if np.isfinite(ratio) else None,
    }


def _sampling(subsets: Mapping[str, PairSet], replicates: int, seed: int) -> Sampling:
    """Return the sampling of subsets that share no identity; each has its own seed."""

    def bootstrap(statistics: WeightedStatistics[KeyPath]) -> dict[KeyPath, Interval | None]:
        drawn = [
            identity_weights(subset.pairs, subset.identities, replicates, seed + number)
            for number, subset in enumerate(subsets.values())
        ]
        weights = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        pairs = sum(len(subset.pairs) for subset in subsets.values())
        return intervals(statistics, pairs, weights, replicates)

    sides: tuple[list[Ints], list[Ints]] = ([], [])
    identities = 0
    for subset in subsets.values():
        numbers = paired_identities(subset.pairs, subset.identities)
        for side, number in zip(sides, numbers, strict=True):
            side.append(number + identities)
        identities = int(max(side[-1].max() for side in sides)) + 1
    first, second = (np.concatenate(side) for side in sides)
    return Sampling(Clusters(first, second), optional_bootstrap(bootstrap, replicates))
