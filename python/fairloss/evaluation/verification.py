"""Verification metrics: AUC, EER and TAR@FAR."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_integers, expect
from fairloss.evaluation.bootstrap import RocStatistic
from fairloss.evaluation.clusters import Clusters, Influence
from fairloss.evaluation.folds import FoldScores, pair_fold_accuracy
from fairloss.evaluation.influence import InfluenceFunction, RocInfluence, accuracy_influence
from fairloss.evaluation.protocol_report import KeyPath, Unmeasured
from fairloss.evaluation.roc import Roc, RocCorners, SortedScores, check_scored_pairs
from fairloss.typing import Bools, Float64s

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def check_fars(far: Sequence[float]) -> tuple[float, ...]:
    """Return floats; ValueError unless all lie in (0, 1]."""
    fars = tuple(float(value) for value in far)
    expect(all(0 < value <= 1 for value in fars), "far", "numbers in (0, 1]", fars)
    return fars


def not_measurable(impostor: int) -> Unmeasured:
    """Return the reason that replaces a TAR in a report."""
    return Unmeasured(f"not measurable with {impostor} impostors")


@dataclass(frozen=True)
class Verification:
    """Verification metrics of one score vector.

    Attributes:
        auc: area under the ROC, ties counted half.
        eer: equal error rate, linear between ROC points.
        tar: FAR -> TAR, None where FAR < 1 / impostor ("not measurable").
        thresholds: FAR -> lowest score accepted at that TAR, None likewise.
        genuine: number of genuine pairs with positive weight.
        impostor: number of impostor pairs with positive weight.
    """

    auc: float
    eer: float
    tar: dict[float, float | None]
    thresholds: dict[float, float | None]
    genuine: int
    impostor: int

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, JSON-ready: FARs as strings, the reason for a missing TAR."""
        missing = not_measurable(self.impostor)
        return {
            "genuine": self.genuine,
            "impostor": self.impostor,
            "auc": self.auc,
            "eer": self.eer,
            "tar": {str(far): missing if v is None else v for far, v in self.tar.items()},
            "thresholds": {str(far): v for far, v in self.thresholds.items()},
        }


def verification(
    scores: npt.ArrayLike,
    genuine: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    far: Sequence[float] = FARS,
) -> Verification:
    """Compute AUC, EER and TAR@FAR.

    TAR@FAR = f is the largest TAR of any threshold whose FAR is at most f; there is no
    interpolation. Pairs of weight 0 are absent; whether a FAR is measurable depends on the
    number of impostor pairs left, not on their weight.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool or 0/1.
        weights: (P,) non-negative integers or fractions, default all 1.
        far: false accept rates in (0, 1].

    Raises:
        ValueError: lengths differ, a value is outside its range, or there is no genuine or
            no impostor pair.
    """
    fars = check_fars(far)
    scores, genuine = check_scored_pairs(scores, genuine)
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64)
        expect(weights.shape == scores.shape, "weights", f"shape {scores.shape}", weights.shape)
        invalid = weights[~(np.isfinite(weights) & (weights >= 0))]
        expect(not len(invalid), "weights", "finite and non-negative numbers", invalid[:5])
        present = weights > 0
        scores, genuine, weights = scores[present], genuine[present], weights[present]
    ranked = SortedScores(scores, genuine)
    curve = ranked.roc(weights)
    point = {f: curve.point_at(f) for f in fars if ranked.measurable(f)}
    return Verification(
        auc=curve.auc(),
        eer=curve.eer(),
        tar={f: float(curve.tar[point[f]]) if f in point else None for f in fars},
        thresholds={f: float(curve.threshold[point[f]]) if f in point else None for f in fars},
        genuine=ranked.genuine,
        impostor=ranked.impostor,
    )


class PairStatistics:
    """AUC, EER, every measurable TAR and the mean fold accuracy.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool.
        fold_of_pair: (P,) fold number 0, 1, ... or -1 for a pair in none; None for no accuracy.
    """

    def __init__(
        self, scores: npt.ArrayLike, genuine: Bools, fold_of_pair: npt.ArrayLike | None = None
    ) -> None:
        self.verification = verification(scores, genuine)
        self.point: dict[str, Any] = self.verification.as_dict()
        self._corners = RocCorners(scores, genuine)
        self._roc_statistics: dict[KeyPath, RocStatistic] = {("auc",): Roc.auc, ("eer",): Roc.eer}
        self._roc_statistics |= {
            ("tar", str(far)): partial(Roc.tar_at, far=far)
            for far, tar in self.verification.tar.items()
            if tar is not None
        }
        roc = RocInfluence(self._corners, genuine)
        self.influences: dict[KeyPath, InfluenceFunction] = {("auc",): roc.auc, ("eer",): roc.eer}
        self.influences |= {
            keys: partial(roc.tar_at, far=float(keys[1]))
            for keys in self._roc_statistics
            if keys[0] == "tar"
        }
        self._folds: FoldScores | None = None
        if fold_of_pair is not None:
            fold = check_integers("fold_of_pair", fold_of_pair)
            folds = int(fold.max(initial=-1)) + 1
            self._folds = FoldScores(scores, genuine, fold_of_pair, folds)
            accuracy = pair_fold_accuracy(scores, genuine, fold_of_pair, folds)
            self.point |= {"accuracy": accuracy.mean, "fold_accuracy": accuracy.as_dict()}

            def influence(_: Clusters) -> Influence:
                return accuracy_influence(scores, genuine, fold, accuracy)

            self.influences["accuracy",] = influence

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return "auc", "eer", "tar" and, with folds, "accuracy" under (P,) weights."""
        roc = self._corners.roc(weights)
        numbers: dict[KeyPath, float | None] = {
            keys: None if roc is None else statistic(roc)
            for keys, statistic in self._roc_statistics.items()
        }
        if self._folds is not None:
            numbers["accuracy",] = None if roc is None else self._folds.mean(weights)
        return numbers
