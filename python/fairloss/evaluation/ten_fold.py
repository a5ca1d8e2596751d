"""Verification over a given list of pairs: the protocol of LFW and the sets made after it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import Interval, RocStatistic, Weights, pair_intervals
from fairloss.evaluation.curve import Roc, SortedScores
from fairloss.evaluation.folds import FoldScores, pair_fold_accuracy
from fairloss.evaluation.insightface import insightface_verification
from fairloss.evaluation.metrics import Verification, verification
from fairloss.evaluation.pairs import Pairs, identity_index, pair_scores

REPORT_VERSION = 1


def evaluate_pair_list(
    embeddings: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Ten-fold accuracy, AUC, EER and TAR@FAR of listed pairs, with 95% intervals.

    The threshold of a fold is the best on the other folds. TAR@FAR, AUC and EER are over all
    pairs.

    Args:
        embeddings: (N, D) real numbers; normalised here.
        pairs: P pairs of rows.
        fold_of_pair: (P,) fold number 0, 1, ... of each pair.
        identities: (N,) integers or strings, for the identity-clustered bootstrap.
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: as `evaluate_pairs`, with "accuracy" (the interval of the mean) beside
        "fold_accuracy", and "insightface" (an `InsightfaceVerification`).

    Raises:
        ValueError: a fold has no genuine or no impostor pair, a row is zero or not finite, or
            `identities` contradict the pairs.
    """
    scores = pair_scores(embeddings, pairs)
    report = evaluate_scores(
        scores, pairs, fold_of_pair, identities, replicates=replicates, seed=seed
    )
    insightface = insightface_verification(embeddings, pairs, fold_of_pair)
    return report | {"insightface": insightface.as_dict()}


def evaluate_scores(
    scores: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """`evaluate_pair_list` of (P,) scores, higher meaning more similar, without "insightface"."""
    statistics = PairStatistics(scores, pairs, fold_of_pair)
    intervals = pair_intervals(statistics, pairs, identities, replicates, seed)
    return (
        {"version": REPORT_VERSION, "pairs": len(pairs), "seed": seed}
        | {"identities": int(identity_index(identities).max()) + 1}
        | statistics.point.as_dict()
        | in_report(statistics.point, intervals)
        | {"fold_accuracy": statistics.folds.as_dict()}
    )


def compare_pair_list(
    embeddings_a: npt.ArrayLike,
    embeddings_b: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two models on the same list: metrics of b minus metrics of a, with 95% intervals.

    Both are resampled together, so what the draw of people does to both cancels.

    Returns:
        A JSON-ready report: "a" and "b" (point values) and "difference" ("auc", "eer",
        "accuracy" and "tar", an `Interval` each).

    Raises:
        ValueError: as `evaluate_pair_list`.
    """
    a, b = (
        PairStatistics(pair_scores(embeddings, pairs), pairs, fold_of_pair)
        for embeddings in (embeddings_a, embeddings_b)
    )

    def difference(weights: Weights) -> dict[str, float | None]:
        of_a, of_b = a(weights), b(weights)
        return {name: _minus(of_b[name], of_a[name]) for name in of_a}

    intervals = pair_intervals(difference, pairs, identities, replicates, seed)
    return {
        "version": REPORT_VERSION,
        "pairs": len(pairs),
        "seed": seed,
        "a": a.point.as_dict() | {"fold_accuracy": a.folds.as_dict()},
        "b": b.point.as_dict() | {"fold_accuracy": b.folds.as_dict()},
        "difference": in_report(a.point, intervals),
    }


class PairStatistics:
    """AUC, EER, every measurable TAR and the mean fold accuracy, as functions of pair weights."""

    def __init__(self, scores: npt.ArrayLike, pairs: Pairs, fold_of_pair: npt.ArrayLike) -> None:
        folds = int(np.asarray(fold_of_pair).max(initial=-1)) + 1
        self.point: Verification = verification(scores, pairs.genuine)
        self.folds = pair_fold_accuracy(scores, pairs.genuine, fold_of_pair, folds)
        self._folded = FoldScores(scores, pairs.genuine, fold_of_pair, folds)
        self._ranked = SortedScores(scores, pairs.genuine)
        self._of_curve = roc_statistics(self.point)

    def __call__(self, weights: Weights) -> dict[str, float | None]:
        curve = self._ranked.roc(weights)
        found: dict[str, float | None] = {
            name: statistic(curve) for name, statistic in self._of_curve.items()
        }
        return found | {"accuracy": self._folded.mean(weights)}


def roc_statistics(point: Verification) -> dict[str, RocStatistic]:
    """AUC, EER and the TAR of every FAR that can be measured, by their names in a report."""
    statistics: dict[str, RocStatistic] = {"auc": Roc.auc, "eer": Roc.eer}
    for far, tar in point.tar.items():
        if tar is not None:
            statistics[str(far)] = partial(Roc.tar_at, far=far)
    return statistics


def in_report(point: Verification, intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """Intervals by name in the layout of a report; where a TAR has none, the reason stays."""
    found = {name: interval.as_dict() for name, interval in intervals.items()}
    tar: dict[str, float | str] = point.as_dict()["tar"]
    named = {name: found[name] for name in ("auc", "eer", "accuracy") if name in found}
    return named | {"tar": {far: found.get(far, reason) for far, reason in tar.items()}}


def _minus(b: float | None, a: float | None) -> float | None:
    return None if a is None or b is None else b - a
