"""Verification by group: an attribute of the samples, or the class frequency in training."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_length, check_shape, expect
from fairloss.evaluation.influence import (
    InfluenceFunction,
    rate_influence,
    summary_influences,
    within,
)
from fairloss.evaluation.pairs import Pairs
from fairloss.evaluation.protocol_report import (
    KeyPath,
    Unmeasured,
    measured,
    pair_sampling,
    protocol_report,
)
from fairloss.evaluation.roc import SortedScores, check_both_classes, check_scored_pairs
from fairloss.evaluation.sides import network_arrays
from fairloss.evaluation.verification import PairStatistics, check_fars, not_measurable
from fairloss.typing import Bools, Float64s

FREQUENCY_CUTS = (20, 100)  # few and many shots of Liu et al., "OLTR", CVPR 2019, section 4.1


def evaluate_groups(
    scores: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    far: float = 1e-3,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Verify within each group, and at one threshold that is common to all groups.

    A group's pairs are those whose two samples are in it; pairs of two groups, which are easier
    impostors, are left out. The common threshold is the one that accepts a share of at most
    `far` of all groups' impostor pairs together. Intervals count what the pairs of other groups do
    to the common threshold.

    Args:
        scores: (P,) finite, higher means more similar.
        pairs: P pairs of samples.
        identities: (N,) of the samples, for the intervals.
        groups: (N,) text or integers.
        far: of the common threshold, in (0, 1].
        replicates: of the bootstrap that checks the intervals, 0 for none.
        seed: of the bootstrap.

    Returns:
        A JSON-ready report: "groups" (name -> AUC, EER, TAR@FAR, and "at_common_threshold" with
        "far" and "tar"; or why there is none), "common_threshold" and its "far", "mean_eer",
        "std_eer" (population), "skewed_error_ratio" of the EER and "worst"; intervals of all but
        the threshold.

    Raises:
        ValueError: lengths differ, or no group has both genuine and impostor pairs.
    """
    return _report([[scores]], pairs, identities, groups, far, replicates, seed)


def compare_groups(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    far: float = 1e-3,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models, or two sides of several, on the same pairs and groups: b minus a.

    Scores are (P,), or (S, P) or a list of those of S networks. The common threshold is computed
    for each network.

    Returns:
        JSON-ready: as `compare`, in the layout of `evaluate_groups`.
    """
    sides = [network_arrays("scores_a", scores_a, 1), network_arrays("scores_b", scores_b, 1)]
    return _report(sides, pairs, identities, groups, far, replicates, seed)


def _report(
    sides: Sequence[Sequence[npt.ArrayLike]],
    pairs: Pairs,
    identities: npt.ArrayLike,
    groups: npt.ArrayLike,
    far: float,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    labels = np.asarray(groups).astype(str)
    check_length("groups", len(labels), len(np.asarray(identities)), "entries, as identities")
    rows = np.flatnonzero(labels[pairs.first] == labels[pairs.second])
    group, inside = labels[pairs.first[rows]], pairs[rows]
    statistics = []
    for side in sides:
        arrays = [np.asarray(scores) for scores in side]
        for scores in arrays:
            check_shape("scores", scores, len(pairs))
        statistics.append(
            [GroupStatistics(scores[rows], inside.genuine, group, far) for scores in arrays]
        )
    return protocol_report(statistics, pair_sampling(inside, identities, replicates, seed))


class GroupStatistics:
    """Numbers of each group and their summary, of pairs within groups.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool.
        group: (P,) name of the group of each pair.
        far: of the common threshold.
    """

    def __init__(
        self,
        scores: npt.ArrayLike,
        genuine: Bools,
        group: npt.NDArray[np.str_],
        far: float,
    ) -> None:
        (self._far,) = check_fars((far,))
        self._scores, self._genuine = check_scored_pairs(scores, genuine)
        check_both_classes("groups", genuine)
        self._ranked = SortedScores(self._scores, genuine)
        self._rows = {str(name): np.flatnonzero(group == name) for name in np.unique(group)}
        self._statistics = {
            name: PairStatistics(self._scores[rows], genuine[rows])
            for name, rows in self._rows.items()
            if genuine[rows].any() and not genuine[rows].all()
        }
        numbers = self.weighted(np.ones(len(genuine)))
        eer = {name: group.verification.eer for name, group in self._statistics.items()}
        self.point: dict[str, Any] = {
            "groups": {name: self._group(name, numbers) for name in self._rows},
            "far": self._far,
            "common_threshold": self._threshold(np.ones(len(genuine))),
            "mean_eer": numbers["mean_eer",],
            "std_eer": numbers["std_eer",],
            "skewed_error_ratio": numbers["skewed_error_ratio",]
            or Unmeasured("not measurable: a group has no error"),
            "worst": max(eer, key=lambda name: eer[name]),
        }

    @property
    def influences(self) -> dict[KeyPath, InfluenceFunction]:
        """Every number of `weighted` that can be measured."""
        functions: dict[KeyPath, InfluenceFunction] = {}
        curve = self._ranked.roc()
        for name, statistics in self._statistics.items():
            rows = self._rows[name]
            for keys, function in statistics.influences.items():
                path = ("groups", name, *keys)
                functions[path] = within(rows, function)
            genuine = self._genuine[rows]
            for rate, kind in (("far", rows[~genuine]), ("tar", rows[genuine])):
                functions["groups", name, "at_common_threshold", rate] = partial(
                    rate_influence, curve, self._scores, self._genuine, kind, self._far
                )
        parts = [functions["groups", name, "eer"] for name in self._statistics]
        names = ("mean_eer",), ("std_eer",), ("skewed_error_ratio",)
        summary = summary_influences(parts, len(self._genuine), errors=True)
        return functions | measured(self.point, dict(zip(names, summary, strict=True)))

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return every number of every group, "mean_eer", "std_eer" and "skewed_error_ratio"."""
        numbers: dict[KeyPath, float | None] = {}
        accepted = self._scores >= self._threshold(weights)
        for name, statistics in self._statistics.items():
            rows = self._rows[name]
            group = statistics.weighted(weights[rows])
            numbers |= {("groups", name, *keys): value for keys, value in group.items()}
            genuine = self._genuine[rows]
            for rate, kind in (("far", rows[~genuine]), ("tar", rows[genuine])):
                total = weights[kind].sum()
                share = weights[kind] @ accepted[kind] / total if total else None
                numbers["groups", name, "at_common_threshold", rate] = share
        return numbers | _summary([numbers["groups", n, "eer"] for n in self._statistics])

    def _threshold(self, weights: Float64s) -> float:
        curve = self._ranked.roc(weights)
        return float(curve.threshold[curve.point_at(self._far)])

    def _group(self, name: str, numbers: dict[KeyPath, float | None]) -> dict[str, Any]:
        if name not in self._statistics:
            genuine = int(self._genuine[self._rows[name]].sum())
            impostor = len(self._rows[name]) - genuine
            reason = Unmeasured(f"{not_measurable(impostor)}, {genuine} genuine")
            return {"genuine": genuine, "impostor": impostor, "reason": reason}
        common = {
            rate: numbers["groups", name, "at_common_threshold", rate] for rate in ("far", "tar")
        }
        return self._statistics[name].point | {"at_common_threshold": common}


def frequency_groups(
    training_counts: npt.ArrayLike, cuts: tuple[int, int] = FREQUENCY_CUTS
) -> npt.NDArray[np.str_]:
    """Return "tail", "mid" or "head" for each sample, by the training images of its class.

    Args:
        training_counts: (N,) number of training images of the class of each sample.
        cuts: below the first is tail, above the second head.
    """
    low, high = cuts
    expect(0 < low <= high, "cuts", "two rising numbers above 0", cuts)
    counts = np.asarray(training_counts)
    return np.where(counts < low, "tail", np.where(counts > high, "head", "mid"))


def _summary(eer: list[float | None]) -> dict[KeyPath, float | None]:
    """Summarize: None where a group lost a class, and for the ratio where one has no error."""
    defined = [value for value in eer if value is not None]
    if len(defined) < len(eer):
        return {("mean_eer",): None, ("std_eer",): None, ("skewed_error_ratio",): None}
    return {
        ("mean_eer",): float(np.mean(defined)),
        ("std_eer",): float(np.std(defined)),
        ("skewed_error_ratio",): max(defined) / min(defined) if min(defined) else None,
    }
