from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairloss.evaluation import obrien_fleming


@pytest.mark.parametrize(
    ("looks", "bounds"),
    [  # published for the O'Brien-Fleming spending function of Lan and DeMets, two-sided 0.05
        (1, [1.960]),
        (2, [2.963, 1.969]),
        (3, [3.710, 2.511, 1.993]),
        (4, [4.333, 2.963, 2.359, 2.014]),
        (5, [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_bounds_are_those_published(looks, bounds):
    result = obrien_fleming(np.arange(1, looks + 1) / looks)
    np.testing.assert_allclose(result.bounds, bounds, atol=6e-4)
    np.testing.assert_allclose(result.levels, 2 * stats.norm.sf(result.bounds))


@pytest.mark.parametrize("sides", [1, 2])
def test_two_looks_spend_alpha_as_the_bivariate_normal_distribution_says(sides):
    """The probability of stopping, by scipy's integral of the joint density of both looks."""
    looks = obrien_fleming([8 / 12, 1], alpha=0.05, sides=sides)
    both = stats.multivariate_normal(cov=[[1, (8 / 12) ** 0.5], [(8 / 12) ** 0.5, 1]])
    low = [-np.inf] * 2 if sides == 1 else -np.array(looks.bounds)
    stopped = 1 - both.cdf(looks.bounds, lower_limit=low)
    assert stopped == pytest.approx(0.05, abs=2e-5)
    # With one side spent 2 - 2 Phi(z(0.025) / sqrt(8/12)) at the first look.
    first = 2 * stats.norm.sf(stats.norm.isf(0.05 / sides / 2) / (8 / 12) ** 0.5)
    assert looks.levels[0] / sides == pytest.approx(first)


@pytest.mark.parametrize("sides", [1, 2])
def test_levels_keep_the_error_rate_of_t_tests(sides):
    """Looks after 8 and 12 seeds where there is no difference; two tests without spending: 0.07."""
    draws = 20_000
    values = np.random.default_rng(0).normal(size=(draws, 12))
    looks = obrien_fleming([8 / 12, 1], sides=sides)
    alternative = "greater" if sides == 1 else "two-sided"
    p = [stats.ttest_1samp(values[:, :n], 0, axis=1, alternative=alternative)[1] for n in (8, 12)]
    stopped = (p[0] <= looks.levels[0]) | (p[1] <= looks.levels[1])
    assert abs(stopped.mean() - 0.05) < 0.005  # standard error 0.0015
    assert ((p[0] <= 0.05) | (p[1] <= 0.05)).mean() > 0.06


def test_bad_looks_are_named():
    with pytest.raises(ValueError, match="fractions: expected ascending shares that end in 1, got"):
        obrien_fleming([0.5, 0.5, 1])
    with pytest.raises(ValueError, match="fractions: expected"):
        obrien_fleming([8, 12])
    with pytest.raises(ValueError, match="alpha: expected a number in"):
        obrien_fleming([1], alpha=1.5)
    with pytest.raises(ValueError, match="sides: expected"):
        obrien_fleming([1], sides=3)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("early", [0.04, 0.01, 0.001])
def test_a_look_that_spends_nothing_leaves_the_others_alone(early, sides):
    looks = obrien_fleming([early, 0.5, 1], sides=sides)
    assert looks.bounds[0] > 9
    assert looks.levels[0] < 1e-20
    np.testing.assert_allclose(looks.bounds[1:], obrien_fleming([0.5, 1], sides=sides).bounds)
