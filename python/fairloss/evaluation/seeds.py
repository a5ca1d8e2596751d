"""One arm against another: networks of several seeds each, and a verdict by a bound."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_number, check_positive, expect
from fairloss.evaluation.compare_extra import import_extra
from fairloss.evaluation.crossed import crossed_mean
from fairloss.typing import Float64s

MIN_SEEDS = 5  # fewer have no verdict
MANY_SEEDS = 200  # from which on the t distribution is as good as normal
POWER = 0.8  # with which the smallest difference would have been seen


@dataclass(frozen=True)
class SeedComparison:
    """Arm b minus arm a over paired seeds.

    With scores of each identity, all but `sd` and `wilcoxon_p` are about other seeds and other
    identities; without, about other seeds and the same identities.

    Attributes:
        seeds: number of pairs of networks.
        identities: number of identities, None for scores that are not split by identity.
        differences: (S,) of each seed.
        mean: of the differences.
        sd: of the differences.
        standard_error: of the mean.
        degrees_of_freedom: of the standard error.
        low: lower end of the interval of the mean, by t quantiles.
        high: upper end.
        confidence: coverage of the interval, 1 - alpha.
        bound: differences up to this size count as equal.
        t_p: p value of the paired t test that the mean is 0, two-sided.
        wilcoxon_p: p value of the signed-rank test, two-sided; at least 1/16 with 5 seeds.
        tost_p: p value of the equivalence test (two one-sided t tests); small means equal.
        smallest_difference: true difference that would be called ahead with a power of 0.8.
        verdict: "ahead": b is better than a by more than the bound (low > bound). "behind": it is
            worse (high < -bound). "tie": the difference is within the bound (tost_p <= alpha).
            "undecided": none of these. None with fewer than 5 seeds.
    """

    seeds: int
    identities: int | None
    differences: tuple[float, ...]
    mean: float
    sd: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float
    confidence: float
    bound: float
    t_p: float
    wilcoxon_p: float
    tost_p: float
    smallest_difference: float
    verdict: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, JSON-ready."""
        return asdict(self) | {"differences": list(self.differences)}


def compare_seeds(
    scores_a: npt.ArrayLike, scores_b: npt.ArrayLike, bound: float, alpha: float = 0.05
) -> SeedComparison:
    """Compare two arms over paired seeds, such as two losses from the same starts.

    (S,) scores, one of each network, speak of networks of other seeds on the same identities.
    (S, I) scores, one of each network and identity (`identity_contributions`), speak of other seeds
    and other identities, by the two-way variance of `crossed_mean`.

    Args:
        scores_a: (S,) or (S, I) finite, higher is better.
        scores_b: likewise, of the same seeds and identities.
        bound: differences up to this size count as equal. Choose it before seeing the scores.
        alpha: level of the tests; at a look before the end, that of `obrien_fleming`.

    Raises:
        ValueError: shapes differ, there are fewer than 2 seeds or identities, or the differences
            are all equal, so that their variance cannot be estimated.
        ImportError: scipy is missing.
    """
    table = _differences(scores_a, scores_b)
    check_positive("bound", bound)
    check_number("alpha", alpha, 0, 1, open_low=True, open_high=True)
    stats = import_extra("scipy.stats")
    differences = table if table.ndim == 1 else table.mean(axis=1)
    mean, variance, degrees = _mean(table)
    expect(variance > 0, "scores_a, scores_b", "differences that vary", f"all are {mean:g}")
    error = float(np.sqrt(variance))
    t = stats.t(degrees)
    half = float(t.isf(alpha / 2)) * error
    tost_p = float(t.sf((bound - abs(mean)) / error))
    enough = len(table) >= MIN_SEEDS
    return SeedComparison(
        seeds=len(table),
        identities=table.shape[1] if table.ndim == 2 else None,
        differences=tuple(differences.tolist()),
        mean=mean,
        sd=float(differences.std(ddof=1)),
        standard_error=error,
        degrees_of_freedom=degrees,
        low=mean - half,
        high=mean + half,
        confidence=1 - alpha,
        bound=bound,
        t_p=float(2 * t.sf(abs(mean) / error)),
        wilcoxon_p=_signed_rank(differences),
        tost_p=tost_p,
        smallest_difference=bound + _detectable(degrees, alpha) * error,
        verdict=_verdict(mean, half, bound, tost_p <= alpha) if enough else None,
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust the p values of several comparisons by Holm's method.

    Where no arm differs, some adjusted p value is at most alpha with a probability of at most
    alpha.

    Raises:
        ValueError: a p value is outside [0, 1], or there is none.
        ImportError: statsmodels is missing.
    """
    expect(p_values, "p_values", "at least one", "none")
    for name, value in p_values.items():
        check_number(f"p_values[{name!r}]", value, 0, 1)
    multitest = import_extra("statsmodels.stats.multitest")
    adjusted = multitest.multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, adjusted.tolist(), strict=True))


def seeds_needed(sd: float, bound: float, alpha: float = 0.05) -> int:
    """Return the number of paired seeds that see a difference of `bound` with a power of 0.8.

    Args:
        sd: standard deviation of the paired differences, such as `SeedComparison.sd`.
        bound: the true difference, above 0.
        alpha: level of the two-sided t test.

    Raises:
        ValueError: a number is out of range.
        ImportError: scipy is missing.
    """
    check_number("sd", sd, 0)
    check_positive("bound", bound)
    check_number("alpha", alpha, 0, 1, open_low=True, open_high=True)
    normal = import_extra("scipy.stats").norm
    # of a known standard deviation: a lower bound, and one seed off from a hundred seeds on
    least = float(((normal.isf(alpha / 2) + normal.isf(1 - POWER)) * sd / bound) ** 2)
    if least > MANY_SEEDS:
        return math.ceil(least) + 2
    seeds = max(MIN_SEEDS, math.ceil(least))
    while _detectable(seeds - 1, alpha) * sd > bound * math.sqrt(seeds):
        seeds += 1
    return seeds


def _differences(scores_a: npt.ArrayLike, scores_b: npt.ArrayLike) -> Float64s:
    a, b = (np.asarray(scores, dtype=np.float64) for scores in (scores_a, scores_b))
    valid = a.ndim in (1, 2) and min(a.shape) > 1
    expected = "(S,) or (S, I) scores of 2 seeds or more, and of 2 identities or more"
    expect(valid, "scores_a", expected, f"shape {a.shape}")
    expect(b.shape == a.shape, "scores_b", f"shape {a.shape}, as scores_a", b.shape)
    for name, scores in (("scores_a", a), ("scores_b", b)):
        finite = np.isfinite(scores)
        expect(finite.all(), name, "finite numbers", scores[~finite][:5])
    return b - a


def _mean(table: Float64s) -> tuple[float, float, float]:
    """Return the mean, its variance and the degrees of freedom of the variance."""
    if table.ndim == 2:
        crossed = crossed_mean(table)
        return crossed.value, crossed.variance, crossed.degrees_of_freedom
    return float(table.mean()), float(table.var(ddof=1)) / len(table), len(table) - 1


def _verdict(mean: float, half: float, bound: float, equal: bool) -> str:
    if equal:
        return "tie"
    if abs(mean) - half > bound:
        return "ahead" if mean > 0 else "behind"
    return "undecided"


def _signed_rank(differences: Float64s) -> float:
    if not differences.any():
        return 1.0  # scipy has no number for it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of zeros and ties: then it uses a normal distribution
        return float(import_extra("scipy.stats").wilcoxon(differences).pvalue)


def _detectable(degrees: float, alpha: float) -> float:
    """Return the mean, in standard errors, that a two-sided t test finds with `POWER`."""
    stats, optimize = import_extra("scipy.stats"), import_extra("scipy.optimize")
    critical = float(stats.t.isf(alpha / 2, degrees))
    nearly = critical + float(stats.t.isf(1 - POWER, degrees))

    def excess(size: float) -> float:  # without the other tail, whose share is below 0.001
        return float(stats.nct.sf(critical, degrees, size)) - POWER

    return float(optimize.brentq(excess, nearly / 2, 2 * nearly))
