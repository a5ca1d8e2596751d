"""Searches of a loss by version 0.1.0, and the loss.json that they left."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from compatibility_files import TOLERANCE, assert_same_weights, lines, succeed

from fairloss import heads
from fairloss.loss_search import SearchConfig, load_head, search
from fairloss.training import load_config

KINDS = {"softmax": heads.SearchSoftmax, "am-lfs": heads.AMLFS}


def options(loss) -> dict:
    return json.loads(loss.read_text(encoding="utf-8"))["head"]["options"]


@pytest.mark.parametrize("name", KINDS)
def test_a_loss_file_is_a_head(unpack, name):
    loss = unpack("search") / "search" / name / "loss.json"
    head = load_head(loss, 5, 8)
    assert type(head) is KINDS[name]
    for option, value in options(loss).items():
        torch.testing.assert_close(getattr(head, option), torch.tensor(value))
    trained = torch.load(loss.parent / "model" / "head.pt", weights_only=True)
    assert trained.keys() == head.state_dict().keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_run_trains_with_a_loss_file(unpack, tmp_path, name):
    root = unpack("data", "search")
    loss, run = root / "search" / name / "loss.json", tmp_path / "run"
    settings = ["epochs=1", "image_size=[32,32]", "channels=1", "model.embedding_size=8"]
    data = f"data={root / 'data' / 'faces'}"
    succeed("train", data, f"output={run}", f"head.loss={loss}", *settings)
    head = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["head"]
    assert (head["name"], head["options"]) == (KINDS[name].__name__, options(loss))


@pytest.mark.parametrize("name", KINDS)
def test_a_finished_search_is_drawn_and_not_repeated(unpack, name):
    root = unpack("data", "search")
    folder = root / "search" / name
    before = (folder / "loss.json").read_bytes()
    model = (folder / "model" / "model.pt").read_bytes()
    pytest.importorskip("matplotlib")
    succeed("search-loss", folder / "config.yaml")
    assert (folder / "loss.json").read_bytes() == before
    assert (folder / "model" / "model.pt").read_bytes() == model
    assert len(lines(folder, "round")) == 2
    for figure in ("trajectory.svg", "loss.svg"):
        assert "<path" in (folder / figure).read_text(encoding="utf-8")


def test_an_interrupted_search_ends_as_it_would_have(unpack):
    root = unpack("data", "search") / "search"
    folder, whole = root / "interrupted", root / "whole"
    config = load_config(folder / "config.yaml", [], SearchConfig)
    reported = []
    search(config, progress=lambda *values: reported.append(values))
    # member 0 of round 5 had been trained: the next is the tenth of twelve
    done = [values[1:] for values in reported if values[0] == "search"]
    assert done == [(10, 12), (11, 12), (12, 12)]
    actual, stored = lines(folder, "round"), lines(whole, "round")
    assert [line["best"] for line in actual] == [line["best"] for line in stored]
    # a reward is an area over 900 comparisons; rounding may turn those of almost equal scores
    for key, atol in {"mean": 0, "points": 0, "losses": 0, "new_mean": 0, "rewards": 0.01}.items():
        values = [[line[key] for line in part] for part in (actual, stored)]
        np.testing.assert_allclose(*values, rtol=1e-4, atol=atol, err_msg=key)
    assert options(folder / "loss.json") == pytest.approx(options(whole / "loss.json"), rel=1e-4)
    assert_same_weights(folder / "model", whole / "model")


def test_the_tolerance_separates_rounds(unpack):
    root = unpack("search") / "search"
    state = torch.load(root / "interrupted" / "checkpoint-0004.pt", weights_only=True)
    final = torch.load(root / "whole" / "model" / "model.pt", weights_only=True)
    change = (state["model"]["fc.weight"] - final["fc.weight"]).abs().max()
    assert change > 100 * TOLERANCE
