"""Paired differences of planted results, and the seeds that a decision takes."""

from __future__ import annotations

import numpy as np
import pytest

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


@pytest.mark.parametrize("sd", [0.003, 0.005, 0.02])
def test_the_seeds_of_an_undecided_arm_decide_whatever_the_mean_is(sd):
    def decisions(seeds):
        spread = np.arange(seeds) - (seeds - 1) / 2
        spread *= sd / spread.std(ddof=1)
        for mean in np.linspace(-0.006, 0.006, 41):
            (row,) = paired_differences(task(spread + mean), bound=0.005)
            yield row["decision"]

    (seeds,) = {int(each.split()[2]) for each in decisions(5) if each.startswith("undecided")}
    assert all(each.startswith("decided") for each in decisions(seeds))
    assert f"undecided: about {seeds} seeds would decide" in decisions(seeds * 5 // 6)


def test_secondary_metrics_have_an_interval_and_no_decision():
    rows = paired_differences(task([0.01, 0.02, 0.03, 0.02, 0.01], other=0.5), bound=0.005)
    assert [row["metric"] for row in rows] == ["test_auc", "other"]
    assert "decision" not in rows[1]
