"""Means over seeds and identities that are crossed: every network sees the same identities."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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


class Variance(NamedTuple):
    """An estimate of a variance.

    Attributes:
        value: the estimate.
        degrees_of_freedom: of the estimate.
    """

    value: float
    degrees_of_freedom: float


def sum_of_variances(parts: Sequence[Variance]) -> Variance:
    """Return the variance of a sum of independent numbers, 0 of none."""
    return _satterthwaite(math.fsum(part.value for part in parts), parts)


def crossed_variance(rows: Variance, columns: Variance, both: Variance) -> Variance:
    """Return the variance of the mean of a table where rows and columns are both random.

    The entry of row s and column i is mean + a_s + b_i + c_si, so the mean of S rows and I columns
    has the variance var(a)/S + var(b)/I + var(c)/(S I): the sum of the first two arguments less the
    third, which is in both. It is not smaller than either, as the variance of a component is not
    negative.

    Args:
        rows: the variance between the means of the rows, over S, which is var(a)/S + var(c)/(S I).
        columns: that between the means of the columns, over I: var(b)/I + var(c)/(S I).
        both: that between the residuals, over S I.
    """
    variance, larger = rows.value + columns.value - both.value, max(rows, columns)
    if variance < larger.value:  # the estimate of a component is negative: it is taken as 0
        return larger
    return _satterthwaite(variance, (rows, columns, both))


def _satterthwaite(variance: float, parts: Sequence[Variance]) -> Variance:
    """Return a variance with the degrees of freedom of a sum of parts, at least those of one."""
    degrees = min((part.degrees_of_freedom for part in parts), default=math.inf)
    spread = math.fsum(part.value**2 / part.degrees_of_freedom for part in parts)
    return Variance(variance, max(degrees, variance**2 / spread) if spread else degrees)


def crossed_mean(values: npt.ArrayLike) -> CrossedMean:
    """Compute the mean of a table and its `crossed_variance`.

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
    by_seed = Variance(float(rows.var(ddof=1)) / seeds, seeds - 1)
    by_identity = Variance(float(columns.var(ddof=1)) / identities, identities - 1)
    by_both = Variance(float((residuals**2).sum()) / free / table.size, free)
    variance = crossed_variance(by_seed, by_identity, by_both)
    return CrossedMean(mean, *variance, by_seed.value, by_identity.value, by_both.value)


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
