"""Summaries of planted results: choices, contrasts, and results that are missing."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from command import succeed

from fairloss.experiments import CompareConfig, Run, compare, smoke, summarize_results

# By seed 0, 1, 2. The mean of the other seeds: a .5 .5 .5, b .55 .6 .5, so that b is chosen, b, a
VALIDATION = {"a": (0.5, 0.5, 0.5), "b": (0.5, 0.4, 0.7)}
TEST = {"a": (0.70, 0.80, 0.90), "b": (0.71, 0.82, 0.93)}
CHOICE = {"among": ["a", "b"], "by": "seeds"}


@pytest.fixture
def config(tmp_path):
    """A comparison that is finished."""
    settings = {"data": str(tmp_path)}
    arms = {"a": {}, "b": {"head.margin": 0.2}}
    sets = {"test": str(tmp_path), "validation": str(tmp_path)}
    config = CompareConfig(str(tmp_path / "o"), settings, arms, seeds=3, **sets)
    for run in config.runs:
        write(config, run)
    return config


def write(config, run, **entries):
    parts = {"test": TEST, "validation": VALIDATION}
    metrics = {f"{part}_mean_tar": values[run.arm][run.seed] for part, values in parts.items()}
    sets = {part: {"folder": getattr(config, part), "images": 9, "identities": 3} for part in parts}
    result = {"version": 1, **run._asdict(), "train_steps": 9, "cost_steps": 10.0, "seconds": 1.0}
    result |= {"metrics": metrics | {"test_auc": "not measurable"}, **sets}
    result |= {"settings": asdict(config.training(run)), "machine": {"threads": 1}, "files": {}}
    path = config.result_path(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result | entries), encoding="utf-8")


def test_a_choice_is_an_arm_of_the_summary(config):
    (task,) = compare(replace(config, choices={"best": CHOICE}))["tasks"]
    best = [run for run in task["runs"] if run["arm"] == "best"]
    assert [run["chosen"] for run in best] == ["b", "b", "a"]
    assert [run["metrics"]["test_mean_tar"] for run in best] == [0.71, 0.82, 0.90]
    assert [run["cost_steps"] for run in best] == [20.0] * 3
    assert task["seeds"] == {"a": 3, "b": 3, "best": 3}
    pairs = [(row["arm"], row["reference"]) for row in task["differences"][:2]]
    assert pairs == [("b", "a"), ("best", "a")]  # with the first arm, as none are given


def test_halving_copies_the_result_of_the_arm_that_is_left(config):
    stages = {"a": (4.0, 0.6), "b": (5.0, 0.5)}
    staged = replace(config, stages=[0.5], choices={"halving": CHOICE | {"by": "stages"}})
    for run in staged.runs:
        cost, value = stages[run.arm]
        stage = {"fraction": 0.5, "epoch": 16, "cost_steps": cost}
        stage["metrics"] = {"validation_mean_tar": value}
        write(staged, run, stages=[stage])
    (task,) = summarize_results(staged)["tasks"]
    halving = [run for run in task["runs"] if run["arm"] == "halving"]
    assert [run["metrics"] for run in halving] == [
        run["metrics"] for run in task["runs"] if run["arm"] == "a"
    ]
    assert {run["chosen"] for run in halving} == {"a"}
    # b to the stage, all of a, and the validation of a there
    assert [run["cost_steps"] for run in halving] == pytest.approx([5 + 10 + 1 / 3] * 3)


def test_given_contrasts_and_metrics_are_those_of_the_summary(config):
    given = replace(config, contrasts=[["a", "b"]], decide=["validation_mean_tar"])
    validation, test = summarize_results(given)["tasks"][0]["differences"]
    assert (validation["metric"], test["metric"]) == ("validation_mean_tar", "test_mean_tar")
    assert "decision" in validation
    assert "decision" not in test
    assert (test["arm"], test["reference"]) == ("a", "b")
    assert test["differences"] == pytest.approx([-0.01, -0.02, -0.03])


def test_the_results_so_far_are_summarized(config):
    config.result_path(Run("b", 0)).unlink()
    config.result_path(Run("a", 2)).unlink()
    several = replace(config, choices={"best": CHOICE})  # which takes a second seed of both
    (task,) = summarize_results(several)["tasks"]
    assert task["seeds"] == {"a": 2, "b": 2}
    assert {run["arm"] for run in task["runs"]} == {"a", "b"}
    assert [(row["seeds"], row["arm"]) for row in task["differences"]] == [([1], "b")] * 2
    for run in config.runs:
        config.result_path(run).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="output: expected a folder with results .*got"):
        summarize_results(config)


def test_results_of_other_commits_are_named(config, tmp_path):
    assert summarize_results(config)["tasks"][0]["machines"] == {}
    write(config, Run("b", 1), machine={"threads": 1, "commit": "f00"})
    write(config, Run("a", 2), machine={"threads": 1, "commit": None})
    assert summarize_results(config)["tasks"][0]["machines"] == {"commit": ["f00", None]}
    path = tmp_path / "arms.yaml"
    path.write_text(json.dumps(asdict(config)), encoding="utf-8")
    shown = succeed("compare", path, "--summary").stdout
    assert "machines of the results differ in commit: f00, None" in shown


def test_a_smoke_test_has_no_choices(config):
    small = smoke(replace(config, choices={"best": CHOICE}, contrasts=[["a", "best"]]))
    small.check()
    assert (small.choices, small.contrasts) == ({}, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": {"best": {"by": "seeds"}}}, "choices.best: expected a rule such as"),
        ({"choices": {"best": CHOICE | {"by": "x"}}}, "choices.best.by: expected .*seeds"),
        ({"choices": {"best": CHOICE | {"by": []}}}, "choices.best.by: expected .*seeds"),
        ({"choices": {"best": CHOICE | {"among": ["a", "x"]}}}, "best.among: expected several"),
        ({"choices": {"best": CHOICE | {"among": ["a", "a"]}}}, "best.among: expected several"),
        ({"choices": {"best": CHOICE | {"among": [["a"], "b"]}}}, "best.among: expected several"),
        ({"choices": {"best": CHOICE | {"among": "ab"}}}, "best.among: expected several"),
        ({"choices": {"a": CHOICE}}, "choices.a: expected a name that no arm has"),
        ({"choices": {"best": CHOICE}, "validation": None}, "validation: expected a folder to ch"),
        ({"choices": {"best": CHOICE}, "seeds": 1}, "seeds: expected 2 or more"),
        ({"choices": {"best": CHOICE | {"by": "stages"}}}, "stages: expected fractions"),
        ({"contrasts": [["a", "best"]]}, "contrasts: expected pairs .* of a, b, got"),
        ({"contrasts": [["a", "a"]]}, "contrasts: expected pairs"),
        ({"contrasts": [["a", "b", "a"]]}, "contrasts: expected pairs"),
        ({"decide": ["test_mean_tar", "auc"]}, r"decide: expected .*test_auc, .* got \['auc'\]"),
        ({"decide": ["closed_accuracy"]}, "decide: expected metrics of test_mean_tar, .* got"),
        ({"contrasts": [["a", "b"]] * 2}, "contrasts: expected every pair once"),
    ],
)
def test_choices_and_contrasts_that_do_not_fit_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes).check()


def test_the_command_summarizes_what_is_there(config, tmp_path):
    config.result_path(Run("b", 2)).unlink()
    path = tmp_path / "arms.yaml"
    content = asdict(config) | {"choices": {"best": CHOICE}, "contrasts": [["b", "best"]]}
    path.write_text(json.dumps(content), encoding="utf-8")
    shown = succeed("compare", path, "--summary").stdout
    assert "1 runs have no result yet; seeds: a 3, b 2, best 2" in shown
    assert "b - best" in shown
    assert str(tmp_path / "o" / "summary.json") in shown.replace("\n", "")
    assert not (tmp_path / "o" / "runs").exists()
