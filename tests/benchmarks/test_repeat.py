"""Training of a run of a comparison again."""

from __future__ import annotations

import pytest
import yaml
from long_tail import repeat

from fairloss.experiments import CompareConfig, Run
from fairloss.io.json import write_json


def test_one_run_is_trained_as_before_in_another_folder(monkeypatch):
    trained = []

    def compare(config):
        config.check()
        (run,) = config.runs
        trained.append(config.training(run))
        write_json(config.result_path(run), {"metrics": {"test_auc": 0.5}})

    monkeypatch.setattr(repeat, "compare", compare)
    arms = {"a": {"epochs": 3}, "b": {"epochs": 5}}
    settings = {"data": "faces", "head.margin": 0.25}
    config = CompareConfig("elsewhere", settings, arms, seeds=4, fewer_seeds={"a": 2}, test="other")
    result = repeat.repeat(config, Run("b", 3))
    assert result["metrics"] == {"test_auc": 0.5}
    (training,) = trained
    assert (training.seed, training.epochs, training.head.margin) == (3, 5, 0.25)
    assert not training.output.startswith("elsewhere")


@pytest.mark.parametrize(("value", "differs"), [(0.5, False), (0.5 + 2**-53, True)])
def test_a_metric_that_differs_from_the_committed_one_fails(monkeypatch, tmp_path, value, differs):
    committed, again = ({"machine": {}, "metrics": {"test_auc": each}} for each in (0.5, value))
    write_json(tmp_path / "raw" / "task" / "b-seed-3.json", committed)
    monkeypatch.setattr(repeat, "RESULTS", tmp_path)
    monkeypatch.setattr(repeat, "repeat", lambda config, run: again)
    comparison = tmp_path / "task.yaml"
    comparison.write_text(
        yaml.safe_dump({"output": "runs/task", "arms": {"b": {}}}), encoding="utf-8"
    )
    assert repeat.main(comparison, "b", 3) is differs
