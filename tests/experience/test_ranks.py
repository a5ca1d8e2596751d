"""A collection on two ranks repeats that of one process."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch
from rank_runs import run, settings, spawn
from synthetic import write_folder
from training_runs import weights

from fairloss.experience import CollectConfig, Experience, collect
from fairloss.training import HeadConfig, RunFolder

EXACT = ("state", "action", "successor", "classes", "epoch", "branch", "seed", "mean_action")
ANGLES = ("inter_before", "inter_after", "intra_before", "intra_after")
EPOCHS = 2


NAMES = ("chain", "branches")


def collection(folder, kind, name, **changes):
    """Settings of a collection of two epochs."""
    layouts = {
        "chain": {"chains": 2},
        "branches": {"layout": "branches", "branches": 2, "validation": str(folder / "others")},
    }
    base = {"run": str(folder / "run"), "output": str(folder / kind / name)}
    return CollectConfig(**base | {"epochs": EPOCHS, "min_cell": 1} | layouts[name] | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Collections of one process and of two ranks from one run."""
    folder = tmp_path_factory.mktemp("collections")
    run(settings(folder / "run", epochs=1, head=HeadConfig(name="ArcFace", margin=0.35)))
    write_folder(folder / "others", [6] * 10, size=8)
    for name in NAMES:
        run(collection(folder, "one", name))
    spawn(2, *((collection(folder, "two", name),) for name in NAMES))
    return folder


def lines(folder):
    """The line of each epoch of the first chain."""
    metrics = RunFolder(folder / "chain-0").metrics()
    return [line for line in metrics if line["event"] == "epoch"]


def assert_same(output, expected):
    """The same transitions, but for the rounding of angles."""
    actual, reference = (Experience.load(each / "experience.npz") for each in (output, expected))
    for name in EXACT:
        np.testing.assert_array_equal(getattr(actual, name), getattr(reference, name), name)
    for name in (*ANGLES, "mean_margin"):
        values = getattr(actual, name), getattr(reference, name)
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-6, err_msg=name)
    assert (actual.steps, actual.dropped) == (reference.steps, reference.dropped)
    branches = [[line.get("branch") for line in lines(each)] for each in (output, expected)]
    assert branches[0] == branches[1]


@pytest.mark.parametrize("name", NAMES)
def test_transitions_are_those_of_one_process(folder, name):
    assert_same(folder / "two" / name, folder / "one" / name)
    experience = Experience.load(folder / "two" / name / "experience.npz")
    assert len(np.unique(experience.action)) == 3
    assert np.isfinite(experience.intra_after).any()
    kinds = {path.name for path in (folder / "two" / name / "chain-0").glob("checkpoint-*")}
    assert kinds == {"checkpoint-0001", "checkpoint-0002"}


def test_the_kept_network_of_ranks_is_a_run_of_one_process(folder):
    one, two = (folder / kind / "branches" / "chain-0" / "model" for kind in ("one", "two"))
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}
    for a, b in zip(weights(two), weights(one), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def interrupted(folder, name, tmp_path):
    """The collection of two ranks as if it had been interrupted in its last epoch."""
    output = tmp_path / name / name
    shutil.copytree(folder / "two" / name, output)
    (output / "experience.npz").unlink()
    for path in output.glob("chain-*/checkpoint-0002"):
        shutil.rmtree(path)
    return collection(folder, "two", name, output=str(output))


@pytest.mark.parametrize("name", NAMES)
def test_one_process_resumes_chains_of_two_ranks(folder, name, tmp_path):
    config = interrupted(folder, name, tmp_path)
    run(config)
    output = tmp_path / name / name
    assert_same(output, folder / "one" / name)
    kinds = {path.name for path in (output / "chain-0").glob("checkpoint-*")}
    assert kinds == {"checkpoint-0001", "checkpoint-0002.pt"}


@pytest.mark.slow
def test_three_ranks_resume_chains_of_two_and_choose_branches_by_distances(folder, tmp_path):
    alone, ranks = (
        collection(folder, kind, "branches", validation=None, output=str(tmp_path / kind))
        for kind in ("one", "three")
    )
    run(alone)
    spawn(3, *((interrupted(folder, name, tmp_path),) for name in NAMES), (ranks,))
    assert_same(tmp_path / "three", tmp_path / "one")
    for name in NAMES:
        assert_same(tmp_path / name / name, folder / "one" / name)


def test_chains_in_several_processes_on_several_ranks_are_refused(folder, monkeypatch):
    monkeypatch.setattr(sys.modules[collect.__module__], "num_ranks", lambda: 2)
    config = collection(folder, "two", "chain", workers=2)
    with pytest.raises(ValueError, match="workers: expected 1 on several ranks, .* 2, got 2"):
        run(config)
