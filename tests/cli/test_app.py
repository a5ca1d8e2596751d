from __future__ import annotations

import runpy
import sys

import pytest
from command import fairloss, refuse

PROTOCOLS = ["pairs", "rfw", "groups", "ytf", "ijb", "megaface", "plot"]
COMMANDS = ["demo", "train", "collect", "fit-policy", "search-loss", "embed", "report", "doctor"]
COMMANDS += ["data orl", "data glyphs", "data align", "data megaface"]
COMMANDS += [f"evaluate {protocol}" for protocol in PROTOCOLS]
COMMANDS += [f"gallery {command}" for command in ("build", "query", "tune", "merge")]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command):
    done = fairloss(*command.split(), "--help")
    assert done.returncode == 0
    assert f"fairloss {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "data: must be given"),
        (["train", "nope.yaml"], "config: nope.yaml does not exist"),
        (["train", "data=nowhere", "output=out"], "nowhere"),
        (["train", "data=x", "output=y", "epoch=1"], "epoch: expected a setting such as epochs, "),
        (["train", "data=x", "output=afile"], "output: expected a folder, got afile"),
        (["collect", "run=nowhere", "output=out"], "run: expected a run folder with config.yaml"),
        (["fit-policy", "nowhere.npz"], "experience: nowhere.npz does not exist"),
        (
            ["evaluate", "pairs", "--data", "d", "--checkpoint", "model.pt"],
            "checkpoint: model.pt does not exist",
        ),
        (
            ["embed", "--data", "d", "--checkpoint", "c", "--output", "x.txt"],
            "output: expected a name that ends in .npy, got x.txt",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").touch()
    refuse(message, *arguments)


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fairloss", "train", "data=x"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("fairloss", run_name="__main__")
    assert ended.value.code == 2
    assert "output: must be given" in capsys.readouterr().err
