"""Means over seeds and identities that are crossed: every network sees the same identities."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.evaluation.pairs import Pairs, identity_index
from fairloss.evaluation.roc import Roc, RocCorners
from fairloss.typing import Float64s

EDGE = 1e-6  # nearest to 0 or 1 that the log-odds take an AUC to be, so that they are finite


@dataclass(frozen=True)
class CrossedMean:
    """A mean over a (seeds, identities) table and its two-way variance.

    Attributes:
        value: the mean of the table.
        variance: of the mean, over new seeds and new identities.
        degrees_of_freedom: of the variance, by Satterthwaite's approximation.
        seeds_variance: the variance between seeds, over the number of seeds: that of the mean on
            these identities.
        identities_variance: the variance between identities, over their number: that of the mean of
            these networks.
        interaction_variance: the part of both that belongs to single entries.
    """

    value: float
    variance: float
    degrees_of_freedom: float
    seeds_variance: float
    identities_variance: float
    interaction_variance: float


def crossed_mean(values: npt.ArrayLike) -> CrossedMean:
    """Compute the mean of a table and its variance where rows and columns are both random.

    The entry of seed s and identity i is mean + a_s + b_i + c_si, so the mean has the variance
    var(a)/S + var(b)/I + var(c)/(S I). The variance between the S row means, over S, estimates the
    first and third term, that between the I column means, over I, the second and third: their sum
    less the third, which the residuals give. It is not smaller than either, as the variance of a
    component is not negative.

    Args:
        values: (S, I) finite, such as differences of two losses with one seed on one identity.

    Raises:
        ValueError: fewer than 2 seeds or identities, or values that are not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    valid = table.ndim == 2 and min(table.shape) >= 2
    expect(valid, "values", "at least 2 seeds x 2 identities", f"shape {table.shape}")
    expect(np.isfinite(table).all(), "values", "finite numbers", table[~np.isfinite(table)][:5])
    seeds, identities = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), float(table.mean())
    residuals = table - rows[:, None] - columns + mean
    free = (seeds - 1) * (identities - 1)
    by_seed = float(rows.var(ddof=1)) / seeds
    by_identity = float(columns.var(ddof=1)) / identities
    by_both = float((residuals**2).sum()) / free / table.size
    variance = by_seed + by_identity - by_both
    degrees = float(min(seeds, identities) - 1)  # of a sum of mean squares at least those of one
    if variance >= max(by_seed, by_identity) > 0:
        spread = by_seed**2 / (seeds - 1) + by_identity**2 / (identities - 1) + by_both**2 / free
        degrees = max(degrees, variance**2 / spread)
    else:  # the estimate of a component is negative: it is taken as 0
        variance = max(by_seed, by_identity)
        degrees = float(seeds - 1 if by_seed > by_identity else identities - 1)
    return CrossedMean(mean, variance, degrees, by_seed, by_identity, by_both)


def log_odds_auc(roc: Roc) -> float:
    """Return ln(AUC / (1 - AUC)), the scale on which AUCs are compared.

    On the scale of the AUC itself a better loss gains most on the identities that are hardest,
    so that the gain varies with the draw of identities; log-odds of all rise about equally.
    A difference of ln 1.25 is 1.25 times the odds of a right order of two pairs.
    """
    return log_odds(roc.auc())


def log_odds(auc: float) -> float:
    """Return ln(AUC / (1 - AUC)) of an AUC that is `EDGE` or further from 0 and 1, or taken so."""
    clipped = min(max(auc, EDGE), 1 - EDGE)
    return math.log(clipped / (1 - clipped))


def identity_contributions(
    scores: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    statistic: Callable[[Roc], float],
) -> Float64s:
    """Split a statistic of pairs into contributions of the identities, by leaving each one out.

    They are the pseudo-values of the jackknife, shifted so that their mean is the statistic. The
    contribution of an identity exceeds the statistic where leaving it out lowers the statistic.

    Args:
        scores: (P,) finite, higher means more similar.
        pairs: P pairs.
        identities: (N,) integers or strings, of the samples of the pairs; I different ones.
        statistic: function of a `Roc`, such as `Roc.auc` or `log_odds_auc`.

    Returns:
        (I,) contributions, in the sorted order of the identities.

    Raises:
        ValueError: fewer than 3 identities, or no genuine or impostor pair is left without one.
    """
    index = identity_index(identities)
    count = int(index.max(initial=-1)) + 1
    expect(count > 2, "identities", "at least 3", count)
    corners = RocCorners(scores, pairs.genuine)
    first, second = index[pairs.first], index[pairs.second]
    without = np.empty(count)
    for left_out in range(count):
        present = (first != left_out) & (second != left_out)
        without[left_out] = _statistic(corners.roc(present.astype(np.float64)), statistic)
    whole = _statistic(corners.roc(np.ones(len(pairs))), statistic)
    contributions: Float64s = whole + (count - 1) * (without.mean() - without)
    return contributions


def _statistic(roc: Roc | None, statistic: Callable[[Roc], float]) -> float:
    if roc is None:
        raise ValueError(
            "pairs: expected genuine and impostor pairs without each identity, got none"
        )
    return statistic(roc)
