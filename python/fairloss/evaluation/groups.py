"""Verification by group: any attribute of the samples, or how often a class was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import roc_intervals
from fairloss.evaluation.curve import SortedScores
from fairloss.evaluation.metrics import check_fars, not_measurable, verification
from fairloss.evaluation.pairs import Pairs
from fairloss.evaluation.ten_fold import REPORT_VERSION, in_report, roc_statistics

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
    `far` of all groups' impostor pairs together.

    Args:
        scores: (P,) finite, higher means more similar.
        pairs: P pairs of samples.
        identities: (N,) of the samples, for the bootstrap.
        groups: (N,) text or integers.
        far: of the common threshold, in (0, 1].
        replicates, seed: of the identity-clustered bootstrap.

    Returns:
        A JSON-ready report: "groups" (name -> AUC, EER, TAR@FAR with intervals, and
        "at_common_threshold" with "far" and "tar"; or why there is none), "common_threshold" and
        its "far", "mean_eer", "std_eer" (population), "skewed_error_ratio" of the EER and "worst".

    Raises:
        ValueError: lengths differ, or no group has both genuine and impostor pairs.
    """
    (far,) = check_fars((far,))
    values, labels = np.asarray(scores), np.asarray(groups).astype(str)
    if labels.shape != np.asarray(identities).shape:
        raise ValueError(f"groups must have an entry for each sample, got shape {labels.shape}")
    within = labels[pairs.first] == labels[pairs.second]
    threshold = _common_threshold(values[within], pairs.genuine[within], far)
    found: dict[str, Any] = {}
    for group in np.unique(labels).tolist():
        chosen = np.flatnonzero(within & (labels[pairs.first] == group))
        subset = Pairs(pairs.first[chosen], pairs.second[chosen], pairs.genuine[chosen])
        found[group] = _group(values[chosen], subset, identities, threshold, replicates, seed)
    eer = {name: report["eer"]["value"] for name, report in found.items() if "eer" in report}
    return {
        "version": REPORT_VERSION,
        "groups": found,
        "far": far,
        "common_threshold": threshold,
        "mean_eer": float(np.mean(list(eer.values()))),
        "std_eer": float(np.std(list(eer.values()))),
        "skewed_error_ratio": _ratio(eer),
        "worst": max(eer, key=lambda name: eer[name]),
    }


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


def _common_threshold(
    values: npt.NDArray[Any], genuine: npt.NDArray[np.bool_], far: float
) -> float:
    if genuine.all() or not genuine.any():
        raise ValueError("groups: no group has both genuine and impostor pairs")
    curve = SortedScores(values, genuine).roc()
    return float(curve.threshold[curve.point_at(far)])


def _group(
    scores: npt.NDArray[Any],
    pairs: Pairs,
    identities: npt.ArrayLike,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    genuine = int(pairs.genuine.sum())
    counts = {"genuine": genuine, "impostor": len(pairs) - genuine}
    if not genuine or genuine == len(pairs):
        return counts | {"reason": not_measurable(len(pairs) - genuine) + f", {genuine} genuine"}
    point = verification(scores, pairs.genuine)
    statistics = roc_statistics(point)
    intervals = roc_intervals(scores, statistics, pairs, identities, replicates, seed)
    accepted = scores >= threshold
    return (
        counts
        | in_report(point, intervals)
        | {
            "at_common_threshold": {
                "far": float(accepted[~pairs.genuine].mean()),
                "tar": float(accepted[pairs.genuine].mean()),
            }
        }
    )


def _ratio(eer: dict[str, float]) -> float | str:
    if not min(eer.values()):
        return "not measurable: a group has no error"
    return max(eer.values()) / min(eer.values())
