"""Cross-validated verification accuracy over identity-disjoint folds."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_integer, check_integers, expect
from fairloss.evaluation.pairs import Pairs, identity_index
from fairloss.evaluation.roc import Roc, SortedScores, check_both_classes, check_scored_pairs
from fairloss.typing import Bools, Float64s, Ints

FOLD_HINT = "; both need at least 2 identities, one of them with 2 samples"


@dataclass(frozen=True)
class FoldAccuracy:
    """Balanced accuracy of each fold, at the threshold that is best on the other folds.

    Attributes:
        accuracies: balanced accuracy, (TAR + 1 - FAR) / 2, of each fold.
        thresholds: score from which a pair was accepted in each fold.
        mean: of the accuracies.
        std: population standard deviation of the accuracies (divides by the number of folds).
        standard_error: of the mean: sample standard deviation / sqrt(folds).
    """

    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    mean: float
    std: float
    standard_error: float

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes and the number of folds, JSON-ready."""
        return (
            {"folds": len(self.accuracies)}
            | asdict(self)
            | {
                "accuracies": list(self.accuracies),
                "thresholds": list(self.thresholds),
            }
        )


def identity_folds(identities: npt.ArrayLike, folds: int = 10, seed: int = 0) -> Ints:
    """Deal identities to folds, so that no identity is in two of them.

    Identities are shuffled, then dealt in turn: the folds differ by at most one identity.
    Those with several samples are dealt first (our choice), so that every fold gets its
    share of the identities that can form a genuine pair.

    Args:
        identities: (N,) integers or strings.
        folds: at least 2 and at most the number of identities.
        seed: of the shuffle.

    Returns:
        (N,) fold number 0..folds-1 of each sample.
    """
    index = identity_index(identities)
    samples = np.bincount(index)
    expect(
        2 <= folds <= len(samples),
        "folds",
        f"2..{len(samples)} for {len(samples)} identities",
        folds,
    )
    order = np.random.default_rng(seed).permutation(len(samples))
    order = order[np.argsort(samples[order] == 1, kind="stable")]
    fold = np.empty(len(samples), dtype=np.int64)
    fold[order] = np.arange(len(samples)) % folds
    return fold[index]


def fold_accuracy(
    scores: npt.ArrayLike, pairs: Pairs, fold_of_sample: npt.ArrayLike, folds: int
) -> FoldAccuracy:
    """Compute the accuracy over folds of samples, of the pairs with both samples in one fold.

    Args:
        scores: (P,) finite, higher means more similar.
        pairs: P pairs.
        fold_of_sample: (N,) fold number 0..folds-1, from `identity_folds`.
        folds: number of folds, at least 2.

    Raises:
        ValueError: as `pair_fold_accuracy`.
    """
    return pair_fold_accuracy(scores, pairs.genuine, fold_within(fold_of_sample, pairs), folds)


def fold_within(fold_of_sample: npt.ArrayLike, pairs: Pairs) -> Ints:
    """Return the (P,) fold that holds both samples of a pair, -1 if there is none."""
    fold = np.asarray(fold_of_sample)
    return np.where(fold[pairs.first] == fold[pairs.second], fold[pairs.first], -1)


def pair_fold_accuracy(
    scores: npt.ArrayLike, genuine: npt.ArrayLike, fold_of_pair: npt.ArrayLike, folds: int
) -> FoldAccuracy:
    """Compute the accuracy over folds of pairs, by the rule of LFW's ten folds.

    Both the choice of the threshold and the score use balanced accuracy: among all pairs
    impostors outnumber genuine pairs so far that rejecting everything would look excellent.
    Where a fold holds as many genuine as impostor pairs, as in LFW, it is the plain accuracy.
    The threshold lies halfway between the lowest accepted and the highest rejected score of
    the other folds (our choice), just above the highest score where rejecting all is best.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool or 0/1.
        fold_of_pair: (P,) fold number 0..folds-1; -1 leaves the pair out.
        folds: number of folds, at least 2.

    Raises:
        ValueError: lengths differ, or a fold has no genuine or no impostor pair.
    """
    accuracies, thresholds = FoldScores(scores, genuine, fold_of_pair, folds).accuracies()
    return FoldAccuracy(
        accuracies=tuple(accuracies),
        thresholds=tuple(thresholds),
        mean=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        standard_error=float(np.std(accuracies, ddof=1)) / math.sqrt(folds),
    )


class FoldScores:
    """Scores of pairs in folds, sorted once, for accuracies under many different weights.

    Args and Raises: as `pair_fold_accuracy`.
    """

    def __init__(
        self,
        scores: npt.ArrayLike,
        genuine: npt.ArrayLike,
        fold_of_pair: npt.ArrayLike,
        folds: int,
    ) -> None:
        values, self._genuine = check_scored_pairs(scores, genuine)
        # in float64, as the threshold may lie between float32 neighbors
        self._scores = values.astype(np.float64)
        fold = np.asarray(fold_of_pair)
        check_integer("folds", folds, 2)
        expect(fold.shape == values.shape, "fold_of_pair", f"shape {values.shape}", fold.shape)
        fold = check_integers("fold_of_pair", fold)
        for number in range(folds):
            check_both_classes(f"fold {number}", self._genuine[fold == number], FOLD_HINT)
        self._test = [np.flatnonzero(fold == number) for number in range(folds)]
        self._train = [np.flatnonzero((fold >= 0) & (fold != number)) for number in range(folds)]
        self._ranked = [SortedScores(self._scores[t], self._genuine[t]) for t in self._train]

    def accuracies(self, weights: Float64s | None = None) -> tuple[list[float], list[float]]:
        """Return balanced accuracy and threshold of each fold, under (P,) weights, default all 1.

        Pairs of weight 0 are absent.

        Raises:
            ValueError: the weights leave no genuine or no impostor pair in or beside a fold.
        """
        scored = [self._score(number, weights) for number in range(len(self._test))]
        return [accuracy for accuracy, _ in scored], [threshold for _, threshold in scored]

    def mean(self, weights: Float64s) -> float | None:
        """Return the mean accuracy under (P,) weights, over the folds that keep both classes.

        None if no fold does: small folds can lose a class when identities are drawn.
        """
        accuracies = [
            self._score(number, weights)[0]
            for number, (test, train) in enumerate(zip(self._test, self._train, strict=True))
            if self._both_classes(test, weights) and self._both_classes(train, weights)
        ]
        return float(np.mean(accuracies)) if accuracies else None

    def _score(self, number: int, weights: Float64s | None) -> tuple[float, float]:
        test, train = self._test[number], self._train[number]
        curve = self._ranked[number].roc(None if weights is None else weights[train])
        threshold = _best_threshold(curve)
        right = (self._scores[test] >= threshold) == self._genuine[test]
        weight = np.ones(len(test)) if weights is None else weights[test]
        return _balanced(right, self._genuine[test], weight), threshold

    def _both_classes(self, pairs: Ints, weights: Float64s) -> bool:
        present = self._genuine[pairs][weights[pairs] > 0]
        return bool(present.any() and not present.all())


def _best_threshold(curve: Roc) -> float:
    """Return the threshold of the highest TAR - FAR, halfway to the highest rejected score."""
    best = int(np.argmax(curve.tar - curve.far))
    # scores of pairs of weight 0 repeat the point before: the next one that differs has a pair
    rejected = min(np.searchsorted(rate, rate[best], "right") for rate in (curve.far, curve.tar))
    highest = float(curve.threshold[rejected])
    return (
        (float(curve.threshold[best]) + highest) / 2 if best else math.nextafter(highest, math.inf)
    )


def _balanced(right: Bools, genuine: Bools, weight: Float64s) -> float:
    share = weight * right
    same = share[genuine].sum() / weight[genuine].sum()
    different = share[~genuine].sum() / weight[~genuine].sum()
    return float(same + different) / 2
