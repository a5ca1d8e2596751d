from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from planted_arms import planted_contributions, verdicts
from scipy import stats
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from fairloss.evaluation import compare_seeds, crossed_mean, holm, seeds_needed

BOUND = np.log(1.25)


@pytest.fixture
def scores():
    generator = np.random.default_rng(0)
    a = generator.normal(0.9, 0.02, size=8)
    return a, a + generator.normal(0.005, 0.01, size=8)


def test_scores_of_seeds_give_the_tests_of_scipy_and_statsmodels(scores):
    a, b = scores
    result = compare_seeds(a, b, bound=0.01)
    t = stats.ttest_rel(b, a)
    assert result.t_p == pytest.approx(t.pvalue)
    assert (result.low, result.high) == pytest.approx(tuple(t.confidence_interval()))
    assert result.wilcoxon_p == pytest.approx(stats.wilcoxon(b, a).pvalue)
    assert result.tost_p == pytest.approx(ttost_paired(b, a, -0.01, 0.01)[0])
    seen = TTestPower().solve_power(nobs=8, alpha=0.05, power=0.8) * np.std(b - a, ddof=1)
    assert result.smallest_difference == pytest.approx(0.01 + seen, rel=1e-4)
    assert compare_seeds(a, b, bound=0.01, alpha=0.1).low > result.low


def test_scores_of_identities_take_their_variance_from_the_table():
    generator = np.random.default_rng(1)
    a = generator.normal(size=(6, 10))
    b = a + generator.normal(size=10) + 0.1 * generator.normal(size=(6, 10))
    result = compare_seeds(a, b, bound=0.5)
    crossed = crossed_mean(b - a)
    assert result.mean == pytest.approx((b - a).mean())
    assert result.standard_error**2 == pytest.approx(crossed.variance)
    half = stats.t.isf(0.025, crossed.degrees_of_freedom) * crossed.variance**0.5
    assert (result.low, result.high) == pytest.approx((result.mean - half, result.mean + half))
    # The same identities with every seed: their means hide that other identities differ.
    assert result.standard_error > 3 * compare_seeds(a.mean(1), b.mean(1), 0.5).standard_error
    assert result.identities == 10
    json.dumps(result.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([2.9, 3.0, 3.1, 3.0, 3.0], "ahead"),
        ([-2.9, -3.0, -3.1, -3.0, -3.0], "behind"),
        ([0.1, -0.1, 0.2, 0.0, 0.1], "tie"),
        ([0.4, 0.5, 0.6, 0.5, 0.5], "tie"),  # not 0, and within the bound
        ([0.9, 1.1, 1.0, 1.2, 1.1], "undecided"),  # not 0, and about the bound
        ([5.0, -4.0, 3.0, 0.0, 1.0], "undecided"),
        ([3.0, 3.0, 3.1, 3.0], None),  # four seeds
    ],
)
def test_verdicts_by_a_bound_of_one(differences, verdict):
    zeros = np.zeros(len(differences))
    assert compare_seeds(zeros, differences, bound=1.0).verdict == verdict


def test_equal_arms_are_rarely_called_ahead():
    seen = verdicts((0.96, 0.96), seeds=5, draws=20, bound=BOUND)
    assert seen.count("ahead") + seen.count("behind") <= 1


def test_an_arm_that_is_better_by_five_points_is_called_ahead():
    seen = verdicts((0.91, 0.96), seeds=5, draws=20, bound=BOUND)
    assert seen.count("ahead") >= 16
    assert seen.count("behind") + seen.count("tie") == 0


@pytest.mark.slow
def test_error_rates_of_verdicts_on_planted_scores():
    equal = verdicts((0.96, 0.96), seeds=5, draws=200, bound=BOUND)
    assert equal.count("ahead") <= 10
    better = verdicts((0.91, 0.96), seeds=5, draws=200, bound=BOUND)
    assert better.count("ahead") >= 160
    # Arms that are better on some identities and worse on others, with every seed.
    uneven = verdicts((0.96, 0.96), seeds=5, draws=200, bound=BOUND, arm_share=0.05)
    assert uneven.count("ahead") <= 10
    many = verdicts((0.96, 0.96), seeds=30, draws=50, bound=BOUND)
    assert many.count("tie") >= 45


def test_intervals_of_seeds_and_identities_cover_where_those_of_seeds_do_not():
    """Equal arms, each better on some identities with every seed: 0.96 against 0.73 of 300."""
    generator = np.random.default_rng(6)
    inside = []
    for _ in range(60):
        a, b = planted_contributions((0.96, 0.96), 5, generator, arm_share=0.03)
        intervals = (compare_seeds(a, b, BOUND), compare_seeds(a.mean(1), b.mean(1), BOUND))
        inside.append([interval.low <= 0 <= interval.high for interval in intervals])
    crossed, seeds_alone = np.mean(inside, axis=0)
    assert crossed >= 0.9
    assert seeds_alone <= 0.85


def test_holm_multiplies_the_smallest_by_their_number():
    adjusted = holm({"auc": 0.01, "eer": 0.04, "tar": 0.03})
    assert adjusted == pytest.approx({"auc": 0.03, "eer": 0.06, "tar": 0.06})


def test_bad_scores_are_named():
    with pytest.raises(ValueError, match=r"scores_a: expected \(S,\) or \(S, I\) scores of 2"):
        compare_seeds([1.0], [2.0], 0.1)
    one_identity = np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match=r"scores_a: .* 2 identities or more, got shape \(5, 1\)"):
        compare_seeds(one_identity, 2 * one_identity, 0.1)
    with pytest.raises(ValueError, match=r"scores_b: expected shape \(2,\), as scores_a, got"):
        compare_seeds([1.0, 2.0], [1.0, 2.0, 3.0], 0.1)
    with pytest.raises(ValueError, match="scores_b: expected finite numbers, got"):
        compare_seeds([1.0, 2.0], [1.0, np.nan], 0.1)
    with pytest.raises(ValueError, match="scores_a, scores_b: expected differences that vary"):
        compare_seeds([1.0, 2.0], [2.0, 3.0], 0.1)
    with pytest.raises(ValueError, match="bound: expected a number above 0"):
        compare_seeds([1.0, 2.0], [2.0, 3.5], 0)
    with pytest.raises(ValueError, match="p_values: expected at least one, got none"):
        holm({})
    with pytest.raises(ValueError, match="p_values.*expected a number in"):
        holm({"auc": 1.5})


@pytest.mark.parametrize("module", ["scipy.stats", "statsmodels.stats.multitest"])
def test_a_missing_library_names_the_extra(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    name = module.split(".")[0]
    with pytest.raises(ImportError, match=rf'needs {name}: pip install "fairloss-ext\[compare\]"'):
        compare_seeds([1.0, 2.0], [2.0, 3.5], 0.1) if name == "scipy" else holm({"auc": 0.5})


@pytest.mark.parametrize("sd", [0.001, 0.006, 0.02, 0.08])
def test_the_seeds_needed_are_those_of_the_power_of_a_paired_t_test(sd):
    power = TTestPower()
    seeds = seeds_needed(sd, 0.005)
    size = 0.005 / sd
    assert power.power(size, seeds, 0.05) >= 0.7995
    assert seeds == 5 or power.power(size, seeds - 4 * (seeds > 100) - 1, 0.05) < 0.8
