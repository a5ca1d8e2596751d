"""Verification metrics: AUC, EER and TAR@FAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.curve import SortedScores, check_scored_pairs

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def check_weights(weights: npt.ArrayLike, length: int) -> npt.NDArray[np.float64]:
    """(P,) float64; ValueError unless finite and non-negative."""
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"weights must have shape ({length},), got {array.shape}")
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError("weights must be finite and non-negative")
    return array


def check_fars(far: Sequence[float]) -> tuple[float, ...]:
    """Floats; ValueError unless all lie in (0, 1]."""
    fars = tuple(float(value) for value in far)
    if not all(0 < value <= 1 for value in fars):
        raise ValueError(f"far must lie in (0, 1], got {fars}")
    return fars


def not_measurable(impostor: int) -> str:
    """What a report says in place of a TAR."""
    return f"not measurable with {impostor} impostors"


@dataclass(frozen=True)
class Verification:
    """Verification metrics of one score vector.

    Attributes:
        auc: area under the ROC, ties counted half.
        eer: equal error rate, linear between ROC points.
        tar: FAR -> TAR, None where FAR < 1 / impostor ("not measurable").
        thresholds: FAR -> lowest score accepted at that TAR, None likewise.
        genuine, impostor: number of pairs with positive weight.
    """

    auc: float
    eer: float
    tar: dict[float, float | None]
    thresholds: dict[float, float | None]
    genuine: int
    impostor: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: FARs become strings, an unmeasurable TAR says why."""
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
    """AUC, EER and TAR@FAR.

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
        weights = check_weights(weights, len(scores))
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
