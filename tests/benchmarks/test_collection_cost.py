"""The smallest collection with the same table, in worlds where it is planted."""

from __future__ import annotations

import json
import sys

import collection_cost
import numpy as np
import pytest
from collection_cost import analyze, prefix, smallest
from planted_experience import experience, nothing, raising


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch):
    monkeypatch.setattr("fairloss.experience.evidence.PERMUTATIONS", 19)


def collections(gain, seeds=(0, 1), **settings):
    return [("chain", experience(gain, chains=1, seed=seed, **settings)) for seed in seeds]


def test_the_cost_of_a_prefix_by_hand():
    """10 steps an epoch and branch, 10 / 3 for each pass, one of them before the first epoch."""
    whole = experience(nothing, chains=2, epochs=20, branches=3)
    part = prefix(whole, 4)
    assert part.epoch.max() == 4
    assert len(part) == 2 * 4 * 3 * 9
    assert part.steps == 2 * 4 * 3 * 10
    assert part.cost_steps == pytest.approx(240 + 2 * (1 + 4 * 3) * 10 / 3)
    assert prefix(whole, 20).cost_steps == pytest.approx(whole.cost_steps)


def test_a_table_without_noise_is_the_same_from_the_first_prefix_that_determines_it():
    planted = collections(raising, noise=0.0, epochs=30)
    records = analyze(planted, 100.0, every=10)
    assert [record["epochs"] for record in records] == [10, 20, 30] * 2
    assert all(record["others"]["agreement"] == 1 for record in records)
    for (_, each), record in zip(planted, records[2::3], strict=True):
        raised = each.state[each.action == 2]
        assert (np.array(record["table"])[raised] == 2).all()
        assert record["visited"] == len(set(zip(each.state, each.action, strict=True)))
    assert [record["epochs"] for record in smallest(records)] == [10, 10]
    first = records[0]
    assert first["trainings"] == pytest.approx((100 + 11 * 10 / 3) / 100)
    assert records[2]["p"] == 1 / 20


def test_tables_of_noise_agree_as_independent_draws_do():
    noise = analyze(collections(nothing, seeds=range(6), epochs=30), 1.0, every=30)
    others = [record["others"] for record in noise]
    chance = np.mean([other["chance"] for other in others])
    assert np.mean([other["agreement"] for other in others]) == pytest.approx(chance, abs=0.12)
    assert all(record["whole"]["agreement"] == 1 for record in noise)  # with itself
    assert np.mean([record["p"] for record in noise]) > 0.2


def test_the_same_table_must_stay_the_same():
    agreements = [0.95, 0.5, 0.92, 1.0]
    records = [
        {
            "layout": "chain",
            "collection": 0,
            "epochs": 5 * number,
            "trainings": 0.1 * number,
            "whole": {"agreement": share},
        }
        for number, share in enumerate(agreements, 1)
    ]
    assert [record["epochs"] for record in smallest(records)] == [15]
    assert [record["epochs"] for record in smallest(records[:1])] == [5]
    assert smallest(records[:2]) == []


def test_the_script_writes_what_it_prints(tmp_path, monkeypatch, capsys):
    path, results = tmp_path / "a.npz", tmp_path / "cost.json"
    experience(raising, epochs=12).save(path)
    arguments = ["x", f"chain={path}", f"branches={path}", "--results", str(results)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(ValueError, match="--training-steps: expected a number"):
        collection_cost.main()  # the cost of the pre-trained run is not in the file
    arguments += ["--training-steps", "50"]
    collection_cost.main()
    content = json.loads(results.read_text(encoding="utf-8"))
    assert [record["epochs"] for record in content["records"]] == [5, 10, 12] * 2
    assert content["records"][5]["others"]["agreement"] == 1  # the same file
    printed = capsys.readouterr().out
    assert "| branches | 1 | 12 | 6.53 |" in printed
