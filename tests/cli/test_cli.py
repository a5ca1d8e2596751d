from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command import fairloss
from glyph_fonts import write_font
from synthetic import write_folder

from fairloss.agent import Policy

SMALL = ["epochs=2", "image_size=[32,32]", "channels=1", "batch_size=16"]
SMALL += ["model.embedding_size=16", "optimizer.learning_rate=0.02"]
PROTOCOLS = ["pairs", "rfw", "groups", "ytf", "ijb", "megaface", "plot"]
COMMANDS = ["demo", "train", "collect", "fit-policy", "search-loss", "embed", "report", "doctor"]
COMMANDS += ["data orl", "data glyphs", "data align", "data megaface"]
COMMANDS += [f"evaluate {protocol}" for protocol in PROTOCOLS]
COMMANDS += [f"gallery {what}" for what in ("build", "query", "tune", "merge")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "faces", [8, 7, 6, 5, 4, 3])


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "mine"
    done = fairloss("train", f"data={data}", f"output={output}", *SMALL)
    assert done.returncode == 0, done.stderr
    assert str(output / "model.pt") in done.stdout
    return output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command):
    done = fairloss(*command.split(), "--help")
    assert done.returncode == 0
    assert f"fairloss {command}" in done.stdout


def test_evaluate_prints_and_writes(data, run):
    done = fairloss("evaluate", "pairs", "--data", data, "--checkpoint", run / "model.pt")
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "pairs.json").read_text())
    assert report["version"] == 1
    assert f"{report['auc']['value']:.4f}" in done.stdout
    assert "TAR@FAR=0.1" in done.stdout
    assert "not measurable with" in done.stdout  # 1e-6 of a few hundred impostors


def test_embed_and_report(data, run, tmp_path):
    model = run / "model.pt"
    done = fairloss("embed", "--data", data, "--checkpoint", model, "--output", tmp_path / "e.npy")
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "e.npy").shape == (33, 16)
    assert len(json.loads((tmp_path / "e.json").read_text())["names"]) == 33
    done = fairloss("report", run)
    assert done.returncode == 0, done.stderr
    assert "<html" in (run / "report.html").read_text()


def test_collect_then_fit_then_train_with_it(data, run, tmp_path):
    done = fairloss("collect", f"run={run}", f"output={tmp_path / 'x'}", "epochs=4", "min_cell=1")
    assert done.returncode == 0, done.stderr
    policy = tmp_path / "policy.json"
    done = fairloss("fit-policy", tmp_path / "x" / "experience.npz", "--output", policy)
    assert done.returncode == 0, done.stderr
    transitions = Policy.load(policy).visits.sum()
    assert transitions > 0
    output = tmp_path / "fair"
    done = fairloss("train", f"data={data}", f"output={output}", f"head.policy={policy}", *SMALL)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(Policy.load(output / "policy.json").table, Policy.load(policy).table)


def test_search_loss_then_train_with_it(data, tmp_path):
    output, small = tmp_path / "search", [*SMALL, "search.held_out=3"]
    done = fairloss("search-loss", f"data={data}", f"output={output}", *small)
    assert done.returncode == 0, done.stderr
    steps = json.loads((output / "loss.json").read_text())["provenance"]["steps"]
    assert f"{steps} optimiser steps in 2 rounds" in done.stdout
    assert {"trajectory.svg", "loss.svg"} < {path.name for path in output.iterdir()}
    again = fairloss("search-loss", f"data={data}", f"output={output}", *small, "resume=never")
    assert again.returncode == 2
    assert "already holds a search" in again.stderr
    run, loss = tmp_path / "run", f"head.loss={output / 'loss.json'}"
    done = fairloss("train", f"data={data}", f"output={run}", loss, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "name: SearchSoftmax" in (run / "config.yaml").read_text()


def test_a_configuration_file_comes_first(data, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"data: {data}\noutput: {tmp_path / 'run'}\nepochs: 5\n")
    done = fairloss("train", path, *SMALL, "epochs=1")
    assert done.returncode == 0, done.stderr
    assert "epochs: 1" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "data: must be given"),
        (["train", "nope.yaml"], "config: nope.yaml does not exist"),
        (["train", "data=nowhere", "output=out"], "nowhere"),
        (["train", "data=x", "output=y", "epoch=1"], "Key 'epoch' not in 'TrainConfig'"),
        (["train", "data=x", "output=afile"], "File exists"),
        (["collect", "run=nowhere", "output=out"], "nowhere holds no config.yaml"),
        (["fit-policy", "nowhere.npz"], "experience: nowhere.npz does not exist"),
        (
            ["evaluate", "pairs", "--data", "d", "--checkpoint", "model.pt"],
            "checkpoint: model.pt does not exist",
        ),
        (
            ["embed", "--data", "d", "--checkpoint", "c", "--output", "x.txt"],
            "output: got x.txt, expected a name that ends in .npy",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").touch()
    done = fairloss(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_names_the_backend():
    done = fairloss("doctor")
    assert done.returncode == 0, done.stderr
    assert "compiled" in done.stdout


def test_data_glyphs_then_train(tmp_path):
    for design, name in enumerate(("a", "b", "brush/c", "pixel/d", "e", "f")):
        write_font(tmp_path / "fonts" / f"{name}.ttf", design)
    sets = tmp_path / "sets"
    made = ("data", "glyphs", sets, "--fonts", tmp_path / "fonts", "--jobs", 1)
    done = fairloss(*made, "--classes", 8, "--validation", 4, "--test", 5, "--largest", 3)
    assert done.returncode == 0, done.stderr
    assert re.search(r"sets/train\W+8\W+20\W+2\W+2\W+3\W", done.stdout)  # 3 * (2/3)^(c/7)
    done = fairloss("train", f"data={sets}", f"output={tmp_path / 'run'}", *SMALL)
    assert done.returncode == 2
    assert "holds several sets; name one: test, train, validation" in done.stderr
    done = fairloss("train", f"data={sets / 'train'}", f"output={tmp_path / 'run'}", *SMALL)
    assert done.returncode == 0, done.stderr
    model = tmp_path / "run" / "model.pt"
    done = fairloss("evaluate", "pairs", "--data", sets / "test", "--checkpoint", model)
    assert done.returncode == 0, done.stderr
