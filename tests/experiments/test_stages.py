"""Sets by seed, stages and margins of the runs of a comparison."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import write_folder

from fairloss.agent import Policy
from fairloss.experiments import CompareConfig, Run, compare, verify
from fairloss.models import embed
from fairloss.training import RunFolder, load_backbone, read_faces

SETTINGS = {"epochs": 2, "image_size": [32, 32], "channels": 1, "batch_size": 16}
SETTINGS |= {"model.embedding_size": 16, "head.kind": "cos"}
FAIR_LOSS = {"head.name": "FairLoss", "head.kind": "cos"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("by seed")
    for seed in (3, 4):
        data = folder / str(seed)
        write_folder(data / "train", [3] * 8, seed=seed)
        write_folder(data / "test", [3] * 6, seed=seed + 10)
        write_folder(data / "validation", [2] * (seed + 2), seed=seed + 20)
        policy = replace(Policy.constant("raise"), provenance={"cost_steps": 10 * seed})
        policy.save(data / "policy.json")
    sets = {part: str(folder / "{seed}" / part) for part in ("test", "validation")}
    settings = {name: value for name, value in SETTINGS.items() if name != "head.kind"}
    return CompareConfig(
        str(folder / "output"),
        settings | {"data": str(folder / "{seed}" / "train")},
        {
            "fixed": {"head.margin": 0.25},
            "raise": FAIR_LOSS | {"head.policy": str(folder / "{seed}" / "policy.json")},
        },
        **sets,
        closed=str(folder / "{seed}" / "train"),
        stages=[0.5, 1.0],
        seed=3,
        seeds=2,
    )


@pytest.fixture(scope="module")
def results(config):
    compare(config)
    return {
        run: json.loads(config.result_path(run).read_text(encoding="utf-8")) for run in config.runs
    }


def test_every_seed_has_its_own_data_and_policy(config, results):
    for run, result in results.items():
        for part in ("test", "validation", "closed"):
            folder = "train" if part == "closed" else part
            assert Path(result[part]["folder"]).parts[-2:] == (str(run.seed), folder)
        assert Path(result["settings"]["data"]).parts[-2:] == (str(run.seed), "train")
    assert results[Run("fixed", 3)]["validation"]["identities"] == 5
    assert results[Run("fixed", 4)]["validation"]["identities"] == 6


def test_the_cost_has_the_statistics_and_the_collection(results):
    fixed, raised = results[Run("fixed", 4)], results[Run("raise", 4)]
    assert (fixed["train_steps"], fixed["collection_steps"], fixed["cost_steps"]) == (4, 0, 4)
    assert (raised["train_steps"], raised["collection_steps"]) == (4, 40)
    assert raised["cost_steps"] == pytest.approx(4 + 4 / 3 + 40)  # 24 images: two batches an epoch


def test_a_stage_measures_the_network_of_that_epoch(config, results):
    run = Run("fixed", 3)
    first, last = results[run]["stages"]
    assert (first["fraction"], first["epoch"], last["epoch"]) == (0.5, 1, 2)
    # 10 images of validation are one batch, whose forward pass costs a third of a step
    assert first["cost_steps"] == pytest.approx(2 + 1 / 3)
    assert last["cost_steps"] == pytest.approx(4 + 2 / 3)
    metrics = results[run]["metrics"]
    assert last["metrics"] == {k: v for k, v in metrics.items() if k.startswith("validation")}
    folder = RunFolder(config.training(run).output)
    model, training = load_backbone(folder / "model.pt")
    model.load_state_dict(_checkpoint(folder, 1)["model"])
    faces = read_faces(replace(training, data=results[run]["validation"]["folder"]))
    expected = verify(embed(model, faces).numpy(), faces.labels.numpy())
    assert first["metrics"]["validation_auc"] == expected["auc"]


def _checkpoint(folder, epoch):
    from fairloss.io.state import read_state

    return read_state(folder / f"checkpoint-{epoch:04d}.pt")


def test_the_margins_of_every_epoch_are_recorded(results):
    # all classes have as many images, and so are in the first bin
    assert results[Run("fixed", 3)]["margins"] == [[0.25, None, None]] * 2
    assert [row[0] for row in results[Run("raise", 3)]["margins"]] == pytest.approx([0.35, 0.45])


def test_an_interrupted_run_has_the_stages_of_an_undisturbed_one(config, results, tmp_path):
    run = Run("fixed", 3)
    other = replace(config, output=str(tmp_path / "output"), arms={"fixed": config.arms["fixed"]})
    shutil.copytree(config.training(run).output, other.training(run).output)
    folder = RunFolder(other.training(run).output)
    for name in ("model.pt", "head.pt", "checkpoint-0002.pt"):
        (folder / name).unlink()
    compare(replace(other, seeds=1))
    again = json.loads(other.result_path(run).read_text(encoding="utf-8"))
    assert again["stages"] == results[run]["stages"]


def test_a_folder_of_a_later_seed_that_is_missing_is_named_first(config, tmp_path):
    longer = replace(config, output=str(tmp_path / "o"), seeds=3)
    with pytest.raises(ValueError, match=r"arms.fixed: data: expected .* each seed, got .*5.train"):
        compare(longer)
    assert not (tmp_path / "o" / "results").exists()


@pytest.mark.parametrize(("name", "value"), [("stages", [0.5]), ("threads", 2)])
def test_a_run_is_not_resumed_with_other_stages_or_threads(config, results, tmp_path, name, value):
    other = replace(config, output=str(tmp_path / "o"), seeds=1, **{name: value})
    shutil.copytree(Path(config.output) / "runs", tmp_path / "o" / "runs")
    with pytest.raises(ValueError, match=f"output: expected .*begun with another .* of {name}"):
        compare(other)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"init": "runs/{seed}"}, "init"),
        ({"init_backbone": "{seed}.pt"}, "init_backbone"),
        ({"evaluate": ["lfw.bin"]}, r"evaluate\[0\]"),
    ],
)
def test_what_a_run_starts_from_or_evaluates_is_looked_for_first(config, tmp_path, settings, name):
    other = replace(config, output=str(tmp_path / "o"), settings=config.settings | settings)
    with pytest.raises(ValueError, match=f"arms.fixed: {name}: expected a file or folder of each"):
        compare(other)
    assert not (tmp_path / "o" / "runs").exists()


def test_stages_need_validation_and_ascend(config):
    with pytest.raises(ValueError, match="stages: expected ascending fractions, got"):
        replace(config, stages=[0.5, 0.2]).check()
    with pytest.raises(ValueError, match="validation: expected a folder for the stages, got none"):
        replace(config, validation=None).check()
