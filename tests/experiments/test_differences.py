"""Paired differences of planted results, and the seeds that a decision takes."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.evaluation import seeds_needed
from fairloss.experiments import paired_differences


def task(differences, metric="test_auc", **others):
    """A comparison whose second arm differs so from the first, by seed."""
    runs = []
    for seed, difference in enumerate(differences):
        start = 0.5 + 0.01 * seed**2
        values = (("a", start), ("b", start + difference))
        runs += [
            {"arm": arm, "seed": seed, "metrics": {"noise": "not measurable", metric: v} | others}
            for arm, v in values
        ]
    return {"primary_metric": metric, "runs": runs}


@pytest.mark.parametrize(
    ("differences", "decision"),
    [
        ([0.001, -0.001, 0.002, 0.0, -0.002], "decided: within the bound"),
        ([0.03, 0.02, 0.03, 0.02, 0.025], "decided: higher"),
        ([-0.03, -0.02, -0.03, -0.02, -0.025], "decided: lower"),
        ([0.03, -0.02, 0.03, -0.02, 0.0], "undecided: about "),
        ([0.03, 0.02, 0.03, 0.02], "undecided: about "),  # four seeds decide nothing
        ([0.0, 0.0, 0.0, 0.0, 0.0], "undecided: takes 5 seeds or more"),
        ([0.1], "undecided: takes 5 seeds or more"),
    ],
)
def test_the_decision_follows_the_equivalence_test_and_the_interval(differences, decision):
    (row,) = paired_differences(task(differences), bound=0.005)
    assert row["decision"].startswith(decision)
    assert (row["arm"], row["reference"]) == ("b", "a")
    assert row["differences"] == pytest.approx(differences)
    assert row["mean"] == pytest.approx(np.mean(differences))


def test_an_undecided_arm_takes_more_seeds_than_it_has():
    differences = [0.0080, -0.0032, 0.0012, 0.0049, -0.0001, 0.0078, 0.0035, -0.0012] * 2
    (row,) = paired_differences(task([*differences, 0.0211, -0.0169]), bound=0.02)
    assert row["decision"] == "decided: within the bound"
    (row,) = paired_differences(task([0.02, 0.03, -0.001, 0.01, 0.002]), bound=0.02)
    assert row["decision"].startswith("undecided: about 6 seeds")


def test_secondary_metrics_have_an_interval_and_no_decision():
    rows = paired_differences(task([0.01, 0.02, 0.03, 0.02, 0.01], other=0.5), bound=0.005)
    assert [row["metric"] for row in rows] == ["test_auc", "other"]
    assert "decision" not in rows[1]


@pytest.mark.parametrize("sd", [0.001, 0.006, 0.02, 0.08])
def test_the_seeds_needed_are_those_of_the_power_of_a_paired_t_test(sd):
    power = pytest.importorskip("statsmodels.stats.power").TTestPower()
    seeds = seeds_needed(sd, 0.005)
    size = 0.005 / sd
    assert power.power(size, seeds, 0.05) >= 0.7995
    assert seeds == 5 or power.power(size, seeds - 4 * (seeds > 100) - 1, 0.05) < 0.8
