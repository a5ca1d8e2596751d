"""Intervals of numbers from their standard errors: logit scale, t quantiles, Wilson at a bound."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from fairloss.checks import check_integer, check_number
from fairloss.evaluation.clusters import Clusters, Influence, Moments
from fairloss.evaluation.crossed import Variance, crossed_variance, sum_of_variances
from fairloss.evaluation.sides import networks

FEW_IDENTITIES = 50
LOGIT_LIMIT = 700.0  # math.exp overflows at 709
ROUNDING = 1e-13  # of a sum over all pairs


@dataclass(frozen=True)
class IdentityInterval:
    """A number and its interval, which counts the covariance of pairs that share an identity.

    Attributes:
        value: the number on the data.
        low: lower end.
        high: upper end.
        standard_error: of the value, 0 where no pair has an effect, as at a bound.
        identities: number of identities that it rests on.
        confidence: nominal coverage.
    """

    value: float
    low: float
    high: float
    standard_error: float
    identities: int
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, JSON-ready."""
        return asdict(self)


def influence_interval(
    influence: Influence, clusters: Clusters, confidence: float = 0.95
) -> IdentityInterval:
    """Compute the interval of a number.

    A share is symmetric in its log odds, with a t quantile; where it is 0 or 1, or no pair has an
    effect, it is at least Wilson's with the effective number of identities. A spread is symmetric
    as it is, a ratio in its logarithm.
    """
    moments = clusters.moments(influence)
    return _interval(influence, moments, *_bounds(influence, moments, confidence), confidence)


def difference_interval(
    a: Influence | Sequence[Influence],
    b: Influence | Sequence[Influence],
    clusters: Clusters,
    confidence: float = 0.95,
) -> IdentityInterval:
    """Compute the interval of the mean of b minus the mean of a, of one or several networks each.

    All networks see the same identities, so the effects of each pair on the two means are
    subtracted. With several networks a side, of different seeds, the variance is that over new
    identities and new networks.

    That all pairs have the same effect on a and b, as where both are at a bound, does not prove the
    two equal: they may differ on a share of other pairs, up to Wilson's upper end of a share of 0.
    """
    sides = [networks("a", a), networks("b", b)]
    means = [_mean(side) for side in sides]
    both = _minus(*means)
    moments = clusters.moments(both)
    variance, degrees = _difference_variance(sides, means, moments, clusters)
    width = t_quantile((1 + confidence) / 2, max(int(degrees), 1)) * math.sqrt(variance)
    if both.scale != "ratio" and (width < ROUNDING or all(map(_at_bound, means))):
        unseen = wilson_interval(0.0, moments.effective, _quantile(moments, confidence))[1]
        width = max(width, unseen * (1 + abs(both.value)))  # where each difference may be 1 or -1
    limit = 1.0 if both.scale == "share" else math.inf
    low, high = max(both.value - width, -limit), min(both.value + width, limit)
    return _interval(both, moments._replace(variance=variance), low, high, confidence)


def _difference_variance(
    sides: Sequence[Sequence[Influence]],
    means: Sequence[Influence],
    moments: Moments,
    clusters: Clusters,
) -> Variance:
    """Return the variance of a difference of two means, whose `moments` are over identities."""
    degrees = max(moments.identities - 1, 1)
    rows, residuals = [], []
    for side, mean in zip(sides, means, strict=True):
        size = len(side)
        if size > 1:
            values = np.array([each.value for each in side])
            rows.append(Variance(float(values.var(ddof=1)) / size, size - 1))
            deviations = [clusters.moments(_deviation(each, mean, size)) for each in side]
            residual = sum(each.variance for each in deviations) / (size * (size - 1))
            residuals.append(Variance(residual, (size - 1) * degrees))
    columns = Variance(moments.variance, degrees)
    return crossed_variance(sum_of_variances(rows), columns, sum_of_variances(residuals))


def _mean(side: Sequence[Influence]) -> Influence:
    """Return the mean of the influences on the same number of several networks."""
    return Influence(
        sum(each.value for each in side) / len(side),
        np.mean([each.effects for each in side], axis=0),
        side[0].observations,
        side[0].scale,
        sum(each.variance for each in side) / len(side) ** 2,
    )


def _deviation(each: Influence, mean: Influence, size: int) -> Influence:
    """Return the influence on a network's number less the mean of `size`, itself included."""
    variance = each.variance * (1 - 1 / size)
    return replace(_minus(mean, each), variance=variance)


def _minus(a: Influence, b: Influence) -> Influence:
    """Return the influence on b minus a; without effects the thresholds cannot matter either."""
    effects = b.effects - a.effects
    variance = a.variance + b.variance if effects.any() else 0.0
    return Influence(b.value - a.value, effects, b.observations, b.scale, variance)


def t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution, to a relative error of 2e-3 at .975.

    Exact for 1 and 2 degrees of freedom; beyond, the expansion in 1 / degrees of Abramowitz and
    Stegun, 26.7.5.
    """
    check_number("probability", probability, 0, 1, open_low=True, open_high=True)
    check_integer("degrees", degrees)
    if degrees == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees == 2:
        return (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    x = NormalDist().inv_cdf(probability)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return float(sum(term / degrees**power for power, term in enumerate(terms)))


def _quantile(moments: Moments, confidence: float) -> float:
    return t_quantile((1 + confidence) / 2, max(moments.identities - 1, 1))


def _at_bound(influence: Influence) -> bool:
    return min(influence.value, 1 - influence.value) < ROUNDING


def _bounds(influence: Influence, moments: Moments, confidence: float) -> tuple[float, float]:
    value, quantile = influence.value, _quantile(moments, confidence)
    width = quantile * math.sqrt(moments.variance)
    if influence.scale == "spread":
        return max(value - width, 0.0), value + width
    if influence.scale == "ratio":
        factor = math.exp(min(width / value, LOGIT_LIMIT))
        return max(value / factor, 1.0), value * factor
    if _at_bound(influence) or width < ROUNDING:
        low, high = wilson_interval(min(max(value, 0.0), 1.0), moments.effective, quantile)
        return max(min(low, value - width), 0.0), min(max(high, value + width), 1.0)
    center, width = math.log(value / (1 - value)), width / (value * (1 - value))
    return share_at(center - width), share_at(center + width)


def share_at(log_odds: float) -> float:
    """Return the share with these log odds, which may be of any size."""
    return 1 / (1 + math.exp(-max(min(log_odds, LOGIT_LIMIT), -LOGIT_LIMIT)))


def wilson_interval(share: float, number: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's interval of a share of `number` independent trials."""
    square = quantile * quantile / number
    center = (share + square / 2) / (1 + square)
    width = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    # rounding must not leave the value itself outside
    return min(max(center - width, 0.0), share), max(min(center + width, 1.0), share)


def _interval(
    influence: Influence, moments: Moments, low: float, high: float, confidence: float
) -> IdentityInterval:
    error = math.sqrt(moments.variance)
    return IdentityInterval(influence.value, low, high, error, moments.identities, confidence)
