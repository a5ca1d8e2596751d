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


def planted(**values):
    """Results of arms by seed; None where a run has no result yet."""
    runs = [
        {"arm": arm, "seed": seed, "metrics": {"tar": value, "gap": -value}}
        for arm, column in values.items()
        for seed, value in enumerate(column)
        if value is not None
    ]
    return {"primary_metric": "tar", "runs": runs}


def test_any_two_arms_are_compared_over_the_seeds_that_both_have():
    results = planted(a=[0.5, 0.5, None], b=[0.1, 0.6, 0.7], c=[None, 0.4, 0.9], d=[0.5])
    pairs = [("c", "b"), ("b", "a"), ("c", "d")]
    rows = paired_differences(results, 0.005, contrasts=pairs)
    rows = [row for row in rows if row["metric"] == "tar"]
    assert [(row["arm"], row["reference"], row["seeds"]) for row in rows] == [
        ("c", "b", [1, 2]), ("b", "a", [0, 1])
    ]  # fmt: skip
    assert rows[0]["differences"] == pytest.approx([-0.2, 0.2])
    assert rows[1]["differences"] == pytest.approx([-0.4, 0.1])


def test_a_metric_is_compared_over_the_seeds_whose_images_measure_it():
    results = planted(a=[0.5, 0.6, 0.7], b=[0.6, 0.8, 0.6])
    for run in results["runs"]:
        if run["seed"] == 1:
            run["metrics"]["gap"] = "not measurable without classes"
    rows = paired_differences(results, 0.005, decide_on=["tar", "gap"])
    assert [(row["metric"], row["seeds"]) for row in rows] == [("tar", [0, 1, 2]), ("gap", [0, 2])]
    assert rows[1]["differences"] == pytest.approx([-0.1, 0.1])
    assert "decision" in rows[1]


def test_the_metrics_to_decide_on_come_first_and_have_decisions():
    results = planted(a=[0.5, 0.6], b=[0.6, 0.8])
    rows = paired_differences(results, 0.005, decide_on=["gap"])
    assert [(row["metric"], "decision" in row) for row in rows] == [("gap", True), ("tar", False)]
    with pytest.raises(ValueError, match="decide: expected measured metrics, of tar, gap, got auc"):
        paired_differences(results, 0.005, decide_on=["auc"])


def test_p_values_are_adjusted_over_the_contrasts_of_a_metric():
    """By hand: of three, the smallest p counts thrice, the next twice or as much as that."""
    results = planted(
        a=[0.0] * 4, b=[0.01, 0.02, 0.03, 0.02], c=[0.1, -0.1, 0.2, 0.0], d=[0.1, 0.1, 0.0, 0.1]
    )
    rows = [r for r in paired_differences(results, 0.005) if r["metric"] == "tar"]
    p_values = {row["arm"]: row["t_p"] for row in rows}
    assert p_values["b"] < p_values["d"] < p_values["c"]
    second = max(3 * p_values["b"], 2 * p_values["d"])
    holm = {"b": 3 * p_values["b"], "d": second, "c": max(second, p_values["c"])}
    assert {row["arm"]: row["holm_p"] for row in rows} == pytest.approx(holm)
    (alone,) = paired_differences(results, 0.005, [("b", "a")])[:1]
    assert alone["holm_p"] == alone["t_p"] == p_values["b"]
