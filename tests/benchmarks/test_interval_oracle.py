"""Intervals with a known standard deviation, rates of verdicts, costs: scripts and tables."""

from __future__ import annotations

import json
from pathlib import Path

import interval_cost
import interval_oracle
import numpy as np
import pytest
import verdict_rates
from planted_arms import verdicts
from scipy import stats

from fairloss.evaluation.clusters import trial_clusters
from fairloss.evaluation.influence import share_function
from fairloss.evaluation.intervals import influence_interval

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
LOG_ODDS, DEVIATE = (interval_oracle.SHARE_SCALES[n] for n in ("log odds", "normal deviate"))


def records(name):
    text = (ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)["records"]


@pytest.mark.parametrize("script", [interval_oracle, verdict_rates])
def test_the_tables_in_the_docs_are_those_of_the_results(script):
    name = script.__name__.replace("_", "-")
    assert script.markdown(records(name)) in DOCS


def test_the_cost_in_the_docs_is_that_of_the_results():
    (record,) = records("interval-cost")
    assert record["intervals"] == 9
    for number in ("numbers_cpu_s", "intervals_cpu_s", "replicate_cpu_s"):
        assert f"{record[number]:.1f} s" in DOCS


def test_log_odds_of_a_report_have_its_interval():
    clusters = trial_clusters(np.repeat(np.arange(12), 5))
    hits = np.random.default_rng(0).random(60) < 0.8
    influence = share_function(hits)(clusters)
    expected = influence_interval(influence, clusters)
    variance = np.array(clusters.moments(influence).variance)
    low, high = interval_oracle.ends(np.array(influence.value), variance, LOG_ODDS, False, 12)
    assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("scale", [LOG_ODDS, DEVIATE])
def test_derivatives_of_scales_are_those_of_differences(scale):
    share, step = np.array([0.05, 0.4, 0.97]), 1e-5
    above, below = scale.forward(share + step), scale.forward(share - step)
    first = (above - below) / (2 * step)
    second = (above + below - 2 * scale.forward(share)) / step**2
    assert scale.derivative(share) == pytest.approx(first, rel=1e-4)
    assert scale.curvature(share) == pytest.approx(second / first**2, rel=1e-3)


def test_correction_removes_the_bias_of_a_scale():
    share = np.random.default_rng(0).binomial(40, 0.9, size=20_000) / 40
    inside = share[share < 1]
    variance = inside * (1 - inside) / 40
    middles = []
    for corrected in (False, True):
        low, high = interval_oracle.ends(inside, variance, DEVIATE, corrected, 40)
        middles.append((stats.norm.ppf(low) + stats.norm.ppf(high)).mean() / 2)
    # those at the bound are missing, so compare with the mean that would be without bias
    truth = inside.mean()
    assert abs(middles[1] - stats.norm.ppf(truth)) < abs(middles[0] - stats.norm.ppf(truth)) / 3


def test_a_normal_estimate_of_known_deviation_needs_no_more_width():
    value = stats.norm.cdf(0.5 + 0.01 * np.random.default_rng(1).normal(size=4_000))
    reached = interval_oracle.trade(value, stats.norm.cdf(0.5), DEVIATE)
    assert reached["width_at_nominal"] == pytest.approx(1, abs=0.04)
    expected = 2 * stats.norm.cdf(1.15 * stats.norm.isf(0.025)) - 1
    assert reached["coverage_at_width"] == pytest.approx(expected, abs=0.01)


def test_rates_are_those_of_the_verdicts():
    record = verdict_rates.rates("AUC 0.91 against 0.96", (0.91, 0.96), 0.0, 5, 6)
    expected = verdicts((0.91, 0.96), 5, 6, np.log(1.25))
    assert {v: record[v] for v in verdict_rates.VERDICTS} == {
        v: expected.count(v) / 6 for v in verdict_rates.VERDICTS
    }
    assert 0 < record["coverage"] <= 1


def test_verdicts_err_as_rarely_as_required():
    rates = {(r["arms"], r["seeds"]): r for r in records("verdict-rates")}
    for name in ("equal", "equal, each better on some identities"):
        assert rates[name, 5]["ahead"] + rates[name, 5]["behind"] <= 0.05
    assert rates["AUC 0.91 against 0.96", 5]["ahead"] >= 0.8
    assert rates["equal", 30]["tie"] >= 0.8


def test_a_small_cost_is_measured():
    record = interval_cost.measure(20)
    assert (record["images"], record["pairs"]) == (60, 1770)
    assert 0 < record["intervals"] <= 9
    assert record["intervals_cpu_s"] >= 0
