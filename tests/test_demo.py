from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic import write_folder

from fairloss.agent import Policy
from fairloss.demo import DemoConfig, demo
from fairloss.gallery import Gallery
from fairloss.training import RunFolder, read_json


def config(data, output, **changes):
    small = {"unseen": 4, "pretrain_epochs": 3, "chain_epochs": 5, "epochs": 4, "replicates": 50}
    return DemoConfig(data=str(data), output=str(output), image_size=[32, 32], **small | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"), [10] * 12)


def numbers(output):
    """Return everything measured but seconds."""
    demo_json = json.loads((output / "demo.json").read_text(encoding="utf-8"))
    for phase in demo_json["phases"]:
        del phase["seconds"]
    return demo_json, json.loads((output / "evaluation.json").read_text(encoding="utf-8"))


def test_the_whole_method_end_to_end(data, tmp_path):
    labels = []
    report = demo(config(data, tmp_path / "a"), lambda label, *_: labels.append(label))
    output = tmp_path / "a"
    assert report == output / "report.html"
    assert "<html" in report.read_text(encoding="utf-8")
    assert {"train pretrain", "chain 0", "fit Q", "train fair", "train fixed"} <= set(labels)

    summary, evaluation = numbers(output)
    policy = Policy.load(output / "policy.json")
    assert len(policy.table) == 36
    assert policy.visits.sum() == summary["experience"]["transitions"]
    assert summary["dqn_agrees_with_tabular"]
    steps = {phase["name"]: phase["steps"] for phase in summary["phases"]}
    assert steps["train fair"] == steps["train fixed"] > 0
    assert steps["collect"] > 0
    for arm in ("fair", "fixed"):
        metrics = RunFolder(output / arm).metrics()
        assert metrics[-1] == metrics[-1] | {"event": "end", "steps": steps[f"train {arm}"]}
        assert evaluation["arms"][arm]["identities"] == 4
    assert len(Gallery.load(output / "gallery")) == 40 - 4
    queries = json.loads((output / "queries.json").read_text(encoding="utf-8"))["queries"]
    assert all(len(query["matches"]) == 5 for query in queries)
    names = [match["name"] for query in queries for match in query["matches"]]
    assert not set(names) & {query["probe"] for query in queries}

    for path in output.rglob("config.yaml"):  # no policy but the one collected here
        head = yaml.safe_load(path.read_text(encoding="utf-8")).get("head", {})
        if head.get("name") == "FairLoss":
            assert Path(head["policy"]) == output / "policy.json"

    demo(config(data, tmp_path / "b"))
    assert numbers(tmp_path / "b") == (summary, evaluation)
    demo(config(data, output))  # finished: nothing is trained twice
    assert numbers(output) == (summary, evaluation)
    demo(config(data, tmp_path / "c", seed=1))
    assert numbers(tmp_path / "c")[1] != evaluation


def test_both_arms_start_alike(data, tmp_path):
    """Same seed, same weights, same margin: the first epoch is the same, bit for bit."""
    demo(config(data, tmp_path))
    first = [RunFolder(tmp_path / arm).metrics()[0]["loss"] for arm in ("fair", "fixed")]
    assert first[0] == first[1]
    with np.load(tmp_path / "collect" / "experience.npz") as file:
        assert int(file["min_cell"]) == 1


def test_identities_that_cannot_be_verified_are_refused_before_training(tmp_path):
    data = write_folder(tmp_path / "data", [1] * 6)
    with pytest.raises(
        ValueError,
        match="unseen: expected two identities to verify or more, .* got 4 with 1 images",
    ):
        demo(config(data, tmp_path / "run"))
    assert not (tmp_path / "run" / "pretrain").exists()
    demo(
        config(write_folder(tmp_path / "more", [4] * 8), tmp_path / "run")
    )  # the refusal left no trace


def test_a_demo_with_other_settings_or_data_is_left_alone(tmp_path):
    data = write_folder(tmp_path / "data", [4] * 8)
    demo(config(data, tmp_path / "run"))
    with pytest.raises(ValueError, match="output: expected a folder without .*unseen was 4, is 3"):
        demo(config(data, tmp_path / "run", unseen=3))
    (data / "id0").rename(data / "id9")  # changes which are unseen
    with pytest.raises(ValueError, match="output: .*pretrain was trained on"):
        demo(config(data, tmp_path / "run"))


def test_own_data_keeps_its_own_tail(tmp_path):
    data = write_folder(tmp_path / "data", [6, 6, 6, 6, 6, 6, 6, 1])
    demo(config(data, tmp_path / "run", unseen=2, seed=1))
    counts = read_json(tmp_path / "run" / "fair" / "identities.json")["counts"]
    assert counts.count(6) >= 5


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="epochs: expected an integer of at least 1, got 0"):
        demo(config(tmp_path, tmp_path, epochs=0))
