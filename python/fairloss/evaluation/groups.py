"""Verification by group: any attribute of the samples, or how often a class was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import Weights
from fairloss.evaluation.curve import SortedScores, check_scored_pairs
from fairloss.evaluation.metrics import check_fars, not_measurable
from fairloss.evaluation.pairs import Pairs
from fairloss.evaluation.statistics import UNMEASURED, Place, compare, draw_people, with_intervals
from fairloss.evaluation.ten_fold import PairStatistics

FREQUENCY_CUTS = (20, 100)  # few and many shots of Liu et al., "OLTR", CVPR 2019, section 4.1


def evaluate_groups(
    scores: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    far: float = 1e-3,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Verification within each group, and what one threshold for everybody does to each.

    A group's pairs are those whose two samples are in it; pairs across groups, which are easier
    impostors, count for nobody. The common threshold is the one that accepts a share of at most
    `far` of all groups' impostor pairs together. People are drawn from all groups at once, and each
    replicate has a common threshold of its own.

    Args:
        scores: (P,) finite, higher means more similar.
        pairs: P pairs of samples.
        identities: (N,) of the samples, for the bootstrap.
        groups: (N,) text or integers.
        far: of the common threshold, in (0, 1].
        replicates, seed: of the identity-clustered bootstrap.

    Returns:
        A JSON-ready report: "groups" (name -> AUC, EER, TAR@FAR, and "at_common_threshold" with
        "far" and "tar"; or why there is none), "common_threshold" and its "far", "mean_eer",
        "std_eer" (population), "skewed_error_ratio" of the EER and "worst"; intervals of all but
        the threshold.

    Raises:
        ValueError: lengths differ, or no group has both genuine and impostor pairs.
    """
    within, labels = _within(pairs, identities, groups)
    kept = pairs[within]
    statistics = GroupStatistics(np.asarray(scores)[within], kept.genuine, labels, far)
    resample = draw_people(kept, identities, replicates, seed)
    return with_intervals(statistics, resample)


def compare_groups(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    far: float = 1e-3,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two models on the same pairs and groups: b minus a of every number, under the same draws.

    Each model has its own common threshold.

    Returns:
        JSON-ready: as `compare`, in the layout of `evaluate_groups`.
    """
    within, labels = _within(pairs, identities, groups)
    kept = pairs[within]
    a, b = (
        GroupStatistics(np.asarray(scores)[within], kept.genuine, labels, far)
        for scores in (scores_a, scores_b)
    )
    resample = draw_people(kept, identities, replicates, seed)
    return compare(a, b, resample)


class GroupStatistics:
    """Numbers of each group and their summary, as functions of weights of pairs within groups.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool.
        group: (P,) name of the group of each pair.
        far: of the common threshold.
    """

    def __init__(
        self,
        scores: npt.ArrayLike,
        genuine: npt.NDArray[np.bool_],
        group: npt.NDArray[np.str_],
        far: float,
    ) -> None:
        (self._far,) = check_fars((far,))
        self._scores, self._genuine = check_scored_pairs(scores, genuine)
        if genuine.all() or not genuine.any():
            raise ValueError("groups: no group has both genuine and impostor pairs")
        self._ranked = SortedScores(self._scores, genuine)
        self._rows = {str(name): np.flatnonzero(group == name) for name in np.unique(group)}
        self._of = {
            name: PairStatistics(self._scores[rows], genuine[rows])
            for name, rows in self._rows.items()
            if genuine[rows].any() and not genuine[rows].all()
        }
        found = self.weighted(np.ones(len(genuine)))
        eer = {name: of.verification.eer for name, of in self._of.items()}
        ratio = found["skewed_error_ratio",]
        self.point: dict[str, Any] = {
            "groups": {name: self._group(name, found) for name in self._rows},
            "far": self._far,
            "common_threshold": self._threshold(np.ones(len(genuine))),
            "mean_eer": found["mean_eer",],
            "std_eer": found["std_eer",],
            "skewed_error_ratio": f"{UNMEASURED}: a group has no error" if ratio is None else ratio,
            "worst": max(eer, key=lambda name: eer[name]),
        }

    def weighted(self, weights: Weights) -> dict[Place, float | None]:
        """Every number of every group, "mean_eer", "std_eer" and "skewed_error_ratio"."""
        found: dict[Place, float | None] = {}
        accepted = self._scores >= self._threshold(weights)
        for name, of in self._of.items():
            rows = self._rows[name]
            own, genuine = weights[rows], self._genuine[rows]
            found |= {("groups", name, *place): v for place, v in of.weighted(own).items()}
            for rate, kind in (("far", ~genuine), ("tar", genuine)):
                place = ("groups", name, "at_common_threshold", rate)
                total = own[kind].sum()
                found[place] = own[kind] @ accepted[rows][kind] / total if total else None
        return found | _summary([found["groups", name, "eer"] for name in self._of])

    def _threshold(self, weights: Weights) -> float:
        curve = self._ranked.roc(weights)
        return float(curve.threshold[curve.point_at(self._far)])

    def _group(self, name: str, found: dict[Place, float | None]) -> dict[str, Any]:
        if name not in self._of:
            genuine = int(self._genuine[self._rows[name]].sum())
            impostor = len(self._rows[name]) - genuine
            reason = not_measurable(impostor) + f", {genuine} genuine"
            return {"genuine": genuine, "impostor": impostor, "reason": reason}
        common = {
            rate: found["groups", name, "at_common_threshold", rate] for rate in ("far", "tar")
        }
        return self._of[name].point | {"at_common_threshold": common}


def frequency_groups(
    training_counts: npt.ArrayLike, cuts: tuple[int, int] = FREQUENCY_CUTS
) -> npt.NDArray[np.str_]:
    """ "tail", "mid" or "head" of each sample, by its class's number of training images.

    Args:
        training_counts: (N,) images of the sample's class in the training set.
        cuts: below the first is tail, above the second head.
    """
    low, high = cuts
    if not 0 < low <= high:
        raise ValueError(f"cuts must be two rising numbers above 0, got {cuts}")
    counts = np.asarray(training_counts)
    return np.where(counts < low, "tail", np.where(counts > high, "head", "mid"))


def _within(
    pairs: Pairs, identities: npt.ArrayLike, groups: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """Rows of the pairs within a group, and the group of each."""
    labels = np.asarray(groups).astype(str)
    if labels.shape != np.asarray(identities).shape:
        raise ValueError(f"groups must have an entry for each sample, got shape {labels.shape}")
    within = np.flatnonzero(labels[pairs.first] == labels[pairs.second])
    return within, labels[pairs.first[within]]


def _summary(eer: list[float | None]) -> dict[Place, float | None]:
    """None where a group lost a class, or a ratio where one has no error."""
    known = [value for value in eer if value is not None]
    if len(known) < len(eer):
        return {("mean_eer",): None, ("std_eer",): None, ("skewed_error_ratio",): None}
    return {
        ("mean_eer",): float(np.mean(known)),
        ("std_eer",): float(np.std(known)),
        ("skewed_error_ratio",): max(known) / min(known) if min(known) else None,
    }
