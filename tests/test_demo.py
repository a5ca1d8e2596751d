from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command import succeed
from sklearn.metrics import auc as auc_of_points
from synthetic import write_folder

from fairloss.agent import Policy
from fairloss.data import FaceImages
from fairloss.demo import DemoConfig, demo
from fairloss.demo.results import compare_arms
from fairloss.evaluation import all_pairs
from fairloss.gallery import Gallery
from fairloss.training import RunFolder, TrainConfig, load_config, read_json


def config(data, output, **changes):
    small = {"unseen": 4, "pretrain_epochs": 2, "chain_epochs": 4, "epochs": 2, "replicates": 20}
    small |= {"seeds": 2}
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


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A demo and the labels of its progress."""
    labels = []
    output = tmp_path_factory.mktemp("runs") / "demo"
    demo(config(data, output), lambda label, *_: labels.append(label))
    return output, set(labels)


@pytest.fixture
def one_margin(monkeypatch):
    """Leave one fixed margin, that of the start, to save time."""
    monkeypatch.setattr("fairloss.demo.phases.MARGINS", (0.35,))


def test_a_missing_library_stops_a_demo_before_it_trains(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ImportError, match="needs scipy"):
        demo(config(data, tmp_path / "demo"))
    assert not (tmp_path / "demo" / "pretrain").exists()


def test_the_whole_method_end_to_end(data, finished):
    output, labels = finished
    assert "<html" in (output / "report.html").read_text(encoding="utf-8")
    assert {"train pretrain", "chain 0", "fit Q", "train fair", "train fixed"} <= labels
    assert "tune the fixed margin" in labels

    summary, evaluation = numbers(output)
    policy = Policy.load(output / "policy.json")
    assert len(policy.table) == 36
    assert policy.visits.sum() == summary["experience"]["transitions"]
    assert summary["dqn_agrees_with_tabular"]
    steps = {phase["name"]: phase["steps"] for phase in summary["phases"]}
    assert steps["train fair"] == steps["train fixed"] > 0
    assert steps["collect"] > 0
    for arm in ("fair", "fixed"):
        runs = [RunFolder(output / arm / f"seed-{seed}") for seed in (0, 1)]
        assert sum(run.metrics()[-1]["steps"] for run in runs) == steps[f"train {arm}"]
        assert [entry["identities"] for entry in evaluation["arms"][arm]] == [4, 4]
    assert len(Gallery.load(output / "gallery")) == 40 - 4
    queries = json.loads((output / "queries.json").read_text(encoding="utf-8"))["queries"]
    assert all(len(query["matches"]) == 5 for query in queries)
    names = [match["name"] for query in queries for match in query["matches"]]
    assert not set(names) & {query["probe"] for query in queries}

    for path in output.rglob("config.yaml"):  # no policy but the one collected here
        head = yaml.safe_load(path.read_text(encoding="utf-8")).get("head", {})
        if head.get("name") == "FairLoss":
            assert Path(head["policy"]) == output / "policy.json"

    settings = asdict(config(data, output))
    again = succeed("demo", *(f"{name}={value}" for name, value in settings.items()))
    assert numbers(output) == (summary, evaluation)  # nothing is trained twice
    words = " ".join(again.stdout.split())
    assert "No verdict: 2 seeds an arm are fewer than 5." in words
    assert "The smallest difference that this could have seen, with a power of 80%" in words


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_number_of_threads(data, finished, tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        demo(config(data, tmp_path))
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert numbers(tmp_path) == numbers(finished[0])


def test_the_difference_is_that_of_the_networks_on_the_unseen_identities(finished):
    evaluation = numbers(finished[0])[1]
    result = evaluation["across_seeds"]
    auc = {
        arm: np.array([entry["auc"]["value"] for entry in entries])
        for arm, entries in evaluation["arms"].items()
    }
    odds = {arm: values / (1 - values) for arm, values in auc.items()}
    np.testing.assert_allclose(result["differences"], np.log(odds["fair"] / odds["fixed"]))
    assert (result["seeds"], result["identities"], result["verdict"]) == (2, 4, None)
    for arm, curves in evaluation["roc"].items():
        for curve, value in zip(curves, auc[arm], strict=True):
            assert auc_of_points(curve["far"], curve["tar"]) == pytest.approx(value)


def test_the_margin_is_the_best_on_identities_held_out_of_the_training_set(finished):
    output = finished[0]
    tuning = numbers(output)[0]["tuning"]
    assert list(tuning["auc"]) == ["0.25", "0.35", "0.45", "0.55"]
    means = {float(margin): np.mean(aucs) for margin, aucs in tuning["auc"].items()}
    assert means[tuning["margin"]] == max(means.values())
    head = load_config(output / "fixed" / "seed-0" / "config.yaml", [], TrainConfig).head
    assert (head.name, head.margin) == ("ArcFace", tuning["margin"])
    seen = set(read_json(output / "fair" / "seed-0" / "identities.json")["identities"])
    parts = [
        set(read_json(output / f"tuning/margin-0.25-fold-{fold}/identities.json")["identities"])
        for fold in range(len(tuning["auc"]["0.25"]))
    ]
    assert all(part < seen for part in parts)
    held_out = [name for part in parts for name in seen - part]
    assert sorted(held_out) == sorted(seen)  # each identity once


def test_perfect_networks_have_no_verdict():
    faces = FaceImages(
        torch.zeros(6, 1, 4, 4, dtype=torch.uint8),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        ["a", "b", "c"],
        [str(i) for i in range(6)],
    )
    pairs = all_pairs(faces.labels.numpy())
    perfect = [pairs.genuine.astype(np.float32)] * 5
    result = compare_arms({"fair": perfect, "fixed": perfect}, pairs, faces)
    assert result == "not measurable: both arms score alike with every seed"
    few = faces.subset(np.arange(4))
    result = compare_arms({"fair": perfect, "fixed": perfect}, pairs, few)
    assert result.startswith("not measurable with 2 identities")


@pytest.mark.slow
def test_both_arms_start_alike(data, tmp_path, one_margin):
    """Same seed, same weights, same margin: the first epoch is the same, bit for bit."""
    demo(config(data, tmp_path))
    runs = [RunFolder(tmp_path / arm / "seed-1") for arm in ("fair", "fixed")]
    first = [run.metrics()[0]["loss"] for run in runs]
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
    write_folder(tmp_path / "one", [4, 1, 1, 1, 1, 4, 1, 1])
    with pytest.raises(ValueError, match="unseen: expected 4 identities to train on or more, "):
        demo(config(tmp_path / "one", tmp_path / "run", unseen=5, seed=3))
    assert not (tmp_path / "run").exists()


def test_a_demo_with_other_settings_or_data_is_left_alone(data, finished):
    output = finished[0]
    with pytest.raises(ValueError, match="output: expected a folder without .*unseen was 4, is 3"):
        demo(config(data, output, unseen=3))
    (data / "id0").rename(data / "id99")  # changes which are unseen
    try:
        with pytest.raises(ValueError, match="output: .*pretrain was trained on"):
            demo(config(data, output))
    finally:
        (data / "id99").rename(data / "id0")


def test_own_data_keeps_its_own_tail(tmp_path, one_margin):
    data = write_folder(tmp_path / "data", [6, 6, 6, 6, 6, 6, 6, 1])
    demo(config(data, tmp_path / "run", unseen=2, seed=1))
    counts = read_json(tmp_path / "run" / "fair" / "seed-2" / "identities.json")["counts"]
    assert counts.count(6) >= 5
    evaluation = numbers(tmp_path / "run")[1]
    assert evaluation["seeds"] == [2, 3]  # none of those of seed 0
    assert evaluation["across_seeds"].startswith("not measurable with 2 identities")


def test_bad_settings_are_named(tmp_path):
    with pytest.raises(ValueError, match="epochs: expected an integer of at least 1, got 0"):
        demo(config(tmp_path, tmp_path, epochs=0))
