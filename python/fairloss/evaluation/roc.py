"""ROC curves of weighted, possibly tied scores.

A pair is accepted when score >= threshold. Equal scores are accepted or rejected together, so no
metric depends on the order of the input.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_flags, expect
from fairloss.typing import Bools, Float64s, Floats

# Absorbs rounding in a FAR such as 1/49 and in sums of fractional weights; admits no whole extra
# impostor while FAR x impostors < 1e9.
RELATIVE_TOLERANCE = 1e-9


class Roc(NamedTuple):
    """Step curve from "reject all" to "accept all", one point per distinct score.

    Attributes:
        far: (T+1,) false accept rate, rising from 0 to 1.
        tar: (T+1,) true accept rate, rising from 0 to 1.
        threshold: (T+1,) falling; the first lies just above the highest score.
    """

    far: Floats
    tar: Floats
    threshold: Floats

    def auc(self) -> float:
        """Return P(genuine score > impostor score), ties counted half."""
        return float(np.diff(self.far) @ (self.tar[1:] + self.tar[:-1]) / 2)

    def eer(self) -> float:
        """Return the error rate where FAR = 1 - TAR, on straight lines between the points."""
        excess = self.far - (1 - self.tar)  # rises from -1 to 1
        after = int(np.argmax(excess >= 0))
        before = after - 1
        share = -excess[before] / (excess[after] - excess[before])
        return float(self.far[before] + share * (self.far[after] - self.far[before]))

    def point_at(self, far: float) -> int:
        """Return the index of the last point whose FAR is at most `far`."""
        limit = far * (1 + RELATIVE_TOLERANCE)
        return int(np.searchsorted(self.far, limit, side="right")) - 1

    def tar_at(self, far: float) -> float:
        """Return the largest TAR of any threshold whose FAR is at most `far`; no interpolation."""
        return float(self.tar[self.point_at(far)])


class SortedScores:
    """Scores sorted once, for ROC curves under many different weights.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool or 0/1.

    Raises:
        ValueError: lengths differ, a score is not finite, or there is no genuine or no
            impostor pair.
    """

    def __init__(self, scores: npt.ArrayLike, genuine: npt.ArrayLike) -> None:
        scores, genuine = check_scored_pairs(scores, genuine)
        check_both_classes("genuine", genuine)
        self.genuine = int(genuine.sum())
        self.impostor = len(genuine) - self.genuine
        self._order = np.argsort(-scores, kind="stable")
        scores = scores[self._order]
        self._is_genuine = genuine[self._order].astype(np.float64)
        self._tie_end = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
        reject_all = np.nextafter(scores[:1], np.inf, dtype=scores.dtype)
        self._threshold = np.concatenate((reject_all, scores[self._tie_end]))

    def roc(self, weights: Float64s | None = None) -> Roc:
        """Return the curve under (P,) non-negative weights of the scores; default all 1.

        Raises:
            ValueError: the weights leave no genuine or no impostor pair.
        """
        weights = np.ones(len(self._order)) if weights is None else weights[self._order]
        accepted_genuine = weights * self._is_genuine
        tar = self._accepted(accepted_genuine)
        far = self._accepted(weights - accepted_genuine)
        expect(
            tar[-1] and far[-1],
            "weights",
            "at least one genuine and one impostor pair above 0",
            f"sums of {tar[-1]:g} and {far[-1]:g}",
        )
        return Roc(far / far[-1], tar / tar[-1], self._threshold)

    def _accepted(self, weights: Float64s) -> Float64s:
        """Sum the weights accepted at each threshold, (T+1,)."""
        total = np.zeros(len(self._threshold))
        np.take(np.cumsum(weights), self._tie_end, out=total[1:])
        return total

    def measurable(self, far: float) -> bool:
        """Return True if `far` is at least 1 / (number of impostor pairs)."""
        return far * self.impostor * (1 + RELATIVE_TOLERANCE) >= 1


class RocCorners:
    """The corners of the ROC only, for curves under many different weights.

    Between two genuine scores the TAR is constant, so impostor pairs between them count together:
    AUC, EER and TAR@FAR are those of the whole curve, at the cost of one pass over the pairs.

    Args and Raises: as `SortedScores`.

    Attributes:
        bins: (P,) number of the step between two points of the curve at which each pair is, plus
            the number of steps for a genuine pair.
    """

    def __init__(self, scores: npt.ArrayLike, genuine: npt.ArrayLike) -> None:
        scores, genuine = check_scored_pairs(scores, genuine)
        check_both_classes("genuine", genuine)
        level = np.unique(scores[genuine])
        above = np.searchsorted(level, scores)  # the first level at or above each score
        tied = level[above.clip(max=len(level) - 1)] == scores
        # steps from the top: 0 above all levels, 1 at the highest, 2 between it and the next, ...
        step = 2 * (len(level) - above) - tied
        self._steps = 2 * len(level) + 1
        self.bins = step + self._steps * genuine
        self._threshold = np.empty(self._steps + 1, dtype=scores.dtype)
        self._threshold[0] = np.nextafter(scores.max(), np.inf, dtype=scores.dtype)
        self._threshold[1:-1:2] = np.nextafter(level[::-1], np.inf, dtype=scores.dtype)
        self._threshold[2::2] = level[::-1]
        self._threshold[-1] = scores.min()

    def roc(self, weights: Float64s) -> Roc | None:
        """Return the curve under (P,) non-negative weights; None if they leave only one class."""
        counts = np.bincount(self.bins, weights, 2 * self._steps).reshape(2, self._steps)
        far, tar = np.concatenate((np.zeros((2, 1)), np.cumsum(counts, axis=1)), axis=1)
        if not tar[-1] or not far[-1]:
            return None
        return Roc(far / far[-1], tar / tar[-1], self._threshold)


def check_scored_pairs(scores: npt.ArrayLike, genuine: npt.ArrayLike) -> tuple[Floats, Bools]:
    """Return (P,) floats and (P,) bool.

    Raises:
        ValueError: lengths differ, a score is not finite, or genuine holds anything but True,
            False, 1 and 0 (some published lists use -1).
    """
    scores, genuine = np.asarray(scores), np.asarray(genuine)
    expect(
        scores.ndim == 1 and scores.dtype.kind in "fiu",
        "scores",
        "a (P,) array of real numbers",
        f"shape {scores.shape} and dtype {scores.dtype}",
    )
    expect(genuine.shape == scores.shape, "genuine", f"shape {scores.shape}", genuine.shape)
    genuine = check_flags("genuine", genuine)
    finite = np.isfinite(scores)
    if not finite.all():
        row = int(finite.argmin())
        raise ValueError(f"scores: expected finite numbers, got {scores[row]} at {row}")
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    return scores, genuine


def check_both_classes(name: str, genuine: Bools, hint: str = "") -> None:
    """Raise ValueError unless there is at least one genuine and one impostor pair."""
    expect(
        genuine.any() and not genuine.all(),
        name,
        "at least one genuine and one impostor pair",
        f"{genuine.sum()} genuine and {(~genuine).sum()} impostor pairs{hint}",
    )


def roc(scores: npt.ArrayLike, genuine: npt.ArrayLike) -> Roc:
    """Return the curve with a point for every distinct score; see `Roc` and `SortedScores`."""
    return SortedScores(scores, genuine).roc()
