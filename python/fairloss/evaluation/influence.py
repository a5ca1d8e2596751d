"""Effects of single pairs or trials on verification metrics, to first order."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.clusters import Clusters, Influence, Observations, Scale
from fairloss.evaluation.folds import FoldAccuracy
from fairloss.evaluation.roc import Roc, RocCorners, SortedScores, check_scored_pairs
from fairloss.typing import Bools, Float64s, Floats, Ints

InfluenceFunction = Callable[[Clusters], Influence]


class RocInfluence:
    """Effects of pairs on AUC, EER and TAR@FAR.

    The effect of a pair depends on its class and on the step of the ROC at which its score is, so
    a table with an entry for each step is looked up for all pairs.

    A threshold that is set by the FAR moves with the impostor pairs, and TAR with it by the slope
    of the ROC. The slope is that of the chord over FAR +- its own standard deviation (as Woodruff,
    "Confidence intervals for medians and other position measures", 1952, inverts quantiles).

    Args:
        corners: of the ROC of P pairs.
        genuine: (P,) bool.
    """

    def __init__(self, corners: RocCorners, genuine: Bools) -> None:
        self._corners, self._observations = corners, Observations(genuine)
        curve = corners.roc(np.ones(len(genuine)))
        assert curve is not None  # of all pairs, which are of both classes
        self._roc = curve
        self._genuine = int(genuine.sum())
        self._impostor = len(genuine) - self._genuine
        self._step = np.arange(len(curve.far) - 1)

    def auc(self, clusters: Clusters) -> Influence:
        """Return the influence on the AUC: the share of the other class that a pair is apart of."""
        far, tar, _ = self._roc
        auc = self._roc.auc()
        genuine = 1 - (far[1:] + far[:-1]) / 2 - auc
        return self._influence(auc, genuine, (tar[1:] + tar[:-1]) / 2 - auc)

    def eer(self, clusters: Clusters) -> Influence:
        """Return the influence on the EER, where FAR and 1 - TAR change with the threshold too."""
        far, tar, _ = self._roc
        eer, point = self._roc.eer(), int(np.argmax(far >= 1 - tar))
        misses = eer * (1 - eer) / self._genuine  # their variance, as the chord needs some pairs
        slope, accepted = self._slope(eer, point, clusters, misses)
        genuine, impostor = tar[point] - accepted, slope * (accepted - far[point])
        return self._influence(eer, genuine / (1 + slope), impostor / (1 + slope))

    def tar_at(self, clusters: Clusters, far: float) -> Influence:
        """Return the influence on the TAR at a FAR, through the threshold too."""
        point = self._roc.point_at(far)
        slope, accepted = self._slope(far, point, clusters)
        tar = float(self._roc.tar[point])
        return self._influence(tar, accepted - tar, -slope * (accepted - self._roc.far[point]))

    def _slope(
        self, far: float, point: int, clusters: Clusters, least: float = 0.0
    ) -> tuple[float, Float64s]:
        """Return the slope of the ROC at a FAR, and 1.0 for each step that a point accepts.

        The square of half of the chord is the variance of the FAR plus `least`.
        """
        accepted = (self._step < point).astype(np.float64)
        share = float(self._roc.far[point])
        effects = self._influence(share, np.zeros(len(accepted)), accepted - share)
        low, high = far_range(far, effects, self._impostor, clusters, least)
        return (self._roc.tar_at(high) - self._roc.tar_at(low)) / (high - low), accepted

    def _influence(self, value: float, genuine: Float64s, impostor: Float64s) -> Influence:
        """Return the influence from the effects of a pair of each class at each step."""
        table = np.concatenate((impostor / self._impostor, genuine / self._genuine))
        return Influence(value, table[self._corners.bins], self._observations)


def rate_influence(
    curve: Roc, scores: Floats, genuine: Bools, kind: Ints, far: float, clusters: Clusters
) -> Influence:
    """Return the influence on the accepted share of some pairs, at the FAR of all.

    Args:
        curve: of all P pairs.
        scores: (P,) of all pairs.
        genuine: (P,) bool.
        kind: rows of the pairs whose share it is.
        far: of all pairs.
        clusters: of all pairs.
    """
    counted = np.zeros(len(scores), dtype=np.bool_)
    counted[kind] = True

    def accepted(far: float) -> Bools:
        return np.asarray(scores >= curve.threshold[curve.point_at(far)], dtype=np.bool_)

    impostor, accepts = ~genuine, accepted(far)
    shift = np.where(impostor, accepts - accepts[impostor].mean(), 0.0) / impostor.sum()
    low, high = far_range(
        far, Influence(far, shift, Observations(genuine)), impostor.sum(), clusters
    )
    slope = (accepted(high)[kind].mean() - accepted(low)[kind].mean()) / (high - low)
    share = float(accepts[kind].mean())
    effects = np.where(counted, accepts - share, 0.0) / len(kind) - slope * shift
    return Influence(share, effects, Observations(counted))


def far_range(
    far: float, accepted: Influence, impostor: int, clusters: Clusters, least: float = 0.0
) -> tuple[float, float]:
    """Return a FAR less and plus its standard deviation, within [0, 1].

    It is at least that of independent pairs and one pair, also where no pair is accepted, and its
    variance is larger by `least`.
    """
    independent = max(far * (1 - far), 1 / impostor) / impostor
    variance = max(clusters.moments(accepted).variance, independent) + least
    return max(far - variance**0.5, 0.0), min(far + variance**0.5, 1.0)


def accuracy_influence(
    scores: npt.ArrayLike, genuine: Bools, fold_of_pair: Ints, accuracy: FoldAccuracy
) -> Influence:
    """Return the influence on the mean fold accuracy.

    At the best threshold its derivative is 0, so a pair counts as right or wrong. To second order
    the thresholds still cost accuracy: the best accuracy with one threshold chosen on all pairs is
    above that over folds by about twice as much on average as the choice costs, or more. The
    variance of that cost is about twice its square, and so half the square of the difference at
    most; a quarter is used, which held in simulation.
    """
    values = check_scored_pairs(scores, genuine)[0].astype(np.float64)
    rows = np.flatnonzero(fold_of_pair >= 0)
    values, counted, fold = values[rows], genuine[rows], fold_of_pair[rows]
    right = (values >= np.array(accuracy.thresholds)[fold]) == counted
    folds = len(accuracy.thresholds)
    effects = np.empty(len(rows))
    for kind in (counted, ~counted):
        weight = 1 / (2 * folds * np.bincount(fold[kind], minlength=folds)[fold[kind]])
        effects[kind] = weight * (right[kind] - 2 * (weight @ right[kind]))
    curve = SortedScores(values, counted).roc()
    cost = float((curve.tar - curve.far).max() + 1) / 2 - accuracy.mean
    observations = Observations(counted, None if len(rows) == len(genuine) else rows)
    return Influence(accuracy.mean, effects, observations, variance=cost**2 / 4)


def share_function(hits: Bools, rows: Ints | None = None) -> InfluenceFunction:
    """Return the influence function of the share of (R,) hits among the trials `rows`."""
    share = float(hits.mean())
    observations = Observations(np.ones(len(hits), dtype=np.bool_), rows)
    return lambda _: Influence(share, (hits - share) / len(hits), observations)


def moved_rows(influence: Influence, rows: Ints) -> Influence:
    """Return the influence of observations that are `rows` of a larger set."""
    inner = influence.observations
    outer = rows if inner.rows is None else rows[inner.rows]
    observations = Observations(inner.counted, outer)
    return Influence(
        influence.value, influence.effects, observations, influence.scale, influence.variance
    )


def within(rows: Ints, function: InfluenceFunction) -> InfluenceFunction:
    """Return the influence function of the rows of a larger set that `function` is of."""
    return lambda clusters: moved_rows(function(clusters.subset(rows)), rows)


def combined(
    value: float, parts: Sequence[Influence], gradient: Sequence[float], size: int, scale: Scale
) -> Influence:
    """Return the influence on a function of numbers, from its derivatives by them.

    Args:
        value: of the function.
        parts: influences on the numbers.
        gradient: derivative of the function by each.
        size: number of all observations.
        scale: of the value.
    """
    effects, counted = np.zeros(size), np.zeros(size, dtype=np.bool_)
    for part, slope in zip(parts, gradient, strict=True):
        rows = slice(None) if part.observations.rows is None else part.observations.rows
        effects[rows] += slope * part.effects
        counted[rows] |= part.observations.counted
    variance = sum(g * g * part.variance for part, g in zip(parts, gradient, strict=True))
    return Influence(value, effects, Observations(counted), scale, variance)


def mean_influence(parts: Sequence[Influence], size: int) -> Influence:
    """Return the influence on the mean of numbers of parts of `size` observations."""
    value = float(np.mean([part.value for part in parts]))
    return combined(value, parts, [1 / len(parts)] * len(parts), size, "share")


def summary_influences(
    parts: Sequence[InfluenceFunction], size: int, errors: bool
) -> tuple[InfluenceFunction, InfluenceFunction, InfluenceFunction]:
    """Return mean, population deviation and largest over smallest error of numbers.

    Args:
        parts: influences on the numbers.
        size: number of all observations.
        errors: True if the numbers are errors, False if 1 minus the numbers are.
    """

    def mean(clusters: Clusters) -> Influence:
        return mean_influence([part(clusters) for part in parts], size)

    def std(clusters: Clusters) -> Influence:
        numbers = [part(clusters) for part in parts]
        values = np.array([number.value for number in numbers])
        spread = float(values.std())
        gradient = (values - values.mean()) / (len(parts) * (spread or 1.0))
        return combined(spread, numbers, gradient.tolist(), size, "spread")

    def ratio(clusters: Clusters) -> Influence:
        numbers, sign = [part(clusters) for part in parts], 1 if errors else -1
        error = np.array([n.value if errors else 1 - n.value for n in numbers])
        largest, smallest = int(error.argmax()), int(error.argmin())
        gradient = np.zeros(len(parts))
        gradient[largest] += sign / error[smallest]
        gradient[smallest] -= sign * error[largest] / error[smallest] ** 2
        value = float(error[largest] / error[smallest])
        return combined(value, numbers, gradient.tolist(), size, "ratio")

    return mean, std, ratio
