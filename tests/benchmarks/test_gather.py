"""Gathering of the results of comparisons."""

from __future__ import annotations

import json

import pytest
from long_tail.gather import gather


def result(arm, seed, tar, **settings):
    part = {"folder": "lost", "images": 4, "identities": 2}
    sets = {"test": part, "validation": part, "machine": {"threads": 1}}
    sets["settings"] = {"data": "lost", "output": "elsewhere", "seed": seed} | settings
    metrics = {"test_mean_tar": tar, "validation_mean_tar": tar}
    steps = {"train_steps": 5, "cost_steps": 5.0, "collection_steps": 0.0}
    return {"arm": arm, "seed": seed, **steps, "metrics": metrics, **sets}


@pytest.fixture
def comparison(tmp_path):
    """A comparison of which one run of four has no result; its data are not there."""
    settings = {"output": str(tmp_path / "runs" / "task_a"), "arms": {"a": {}, "b": {}}}
    settings |= {"settings": {"data": "lost"}, "seeds": 2, "test": "lost", "validation": "lost"}
    settings |= {"choices": {"best": {"among": ["a", "b"], "by": "seeds"}}}
    path = tmp_path / "task_a.yaml"
    path.write_text(json.dumps(settings | {"contrasts": [["b", "a"]]}), encoding="utf-8")
    results = tmp_path / "runs" / "task_a" / "results"
    results.mkdir(parents=True)
    for arm, seed, tar in (("a", 0, 0.5), ("b", 0, 0.75), ("a", 1, 0.5)):
        text = json.dumps(result(arm, seed, tar))
        (results / f"{arm}-seed-{seed}.json").write_text(text, encoding="utf-8")
    return path


def test_results_are_copied_and_summarized_as_far_as_they_exist(comparison, tmp_path):
    output = tmp_path / "docs" / "long_tail.json"
    (task,) = gather([comparison], output)["tasks"]
    assert (task["name"], task["seeds"]) == ("task_a", {"a": 2, "b": 1})
    assert task["differences"][0]["differences"] == [0.25]
    assert json.loads(output.read_text(encoding="utf-8"))["tasks"] == [task]
    raw = sorted(path.name for path in (tmp_path / "docs" / "raw" / "task_a").iterdir())
    assert raw == ["a-seed-0.json", "a-seed-1.json", "b-seed-0.json"]


def test_results_of_another_machine_are_gathered_with_new_ones(comparison, tmp_path):
    output = tmp_path / "docs" / "long_tail.json"
    gather([comparison], output)
    results = tmp_path / "runs" / "task_a" / "results"
    for path in results.iterdir():
        path.unlink()
    (results / "b-seed-1.json").write_text(json.dumps(result("b", 1, 0.75)), encoding="utf-8")
    (task,) = gather([comparison], output)["tasks"]
    assert task["seeds"] == {"a": 2, "b": 2, "best": 2}
    assert {run.get("chosen") for run in task["runs"] if run["arm"] == "best"} == {"b"}


def test_results_with_other_settings_are_not_gathered(comparison, tmp_path):
    results = tmp_path / "runs" / "task_a" / "results"
    (results / "b-seed-1.json").write_text(json.dumps(result("b", 1, 0.7, epochs=3)), "utf-8")
    with pytest.raises(ValueError, match="b-seed-1.json with other settings .epochs was 3, is 32"):
        gather([comparison], tmp_path / "docs" / "long_tail.json")
    assert not (tmp_path / "docs" / "raw" / "task_a" / "b-seed-1.json").exists()


def test_a_comparison_without_results_is_left_out(comparison, tmp_path):
    for path in (tmp_path / "runs" / "task_a" / "results").iterdir():
        path.unlink()
    assert gather([comparison], tmp_path / "docs" / "long_tail.json") == {"tasks": []}
