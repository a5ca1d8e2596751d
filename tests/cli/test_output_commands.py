"""Outputs of every command: refused before the work, and not written by two runs at once."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import pytest
from command import fairloss
from command_inputs import PROGRAM

FOLDERS = "--data lost --checkpoint lost.pt"
FAIRS = "--data faces_[b] --checkpoint run_[b]/model.pt"
LISTS = "--lists lists --facescrub lost.npy --megaface lost.npy"
# Inputs that are missing where the output is the first to be used.
INTO_FOLDERS = [
    "train data=lost output={}",
    "collect run=lost output={}",
    "compare settings.data=lost arms.a={{}} output={}",
    "search-loss data=lost output={}",
    "demo data=lost output={}",
    f"embed {FAIRS} --suffix .bin --output {{}}",
    "data orl {}",
    "data align --data lost --landmarks lost --output {}",
    "data convert lost --to rec --output {}",
    "data cut lost --largest 3 --output {}",
    "data megaface {}",
    "data glyphs {} --fonts lost",
    f"evaluate megaface {LISTS} --output {{}}",
    f"gallery build {FOLDERS} --output {{}}",
    "gallery merge lost --output {}",
]
INTO_FILES = [
    "fit-policy lost.npz --output {}",
    f"embed {FOLDERS} --output {{}}.npy",
    "report lost --output {}",
    "data check lost --output {}",
    "data histogram lost --output {}",
    "export --checkpoint lost.pt --output {}",
    f"evaluate pairs {FOLDERS} --output {{}}",
    f"evaluate rfw --lists lost {FOLDERS} --output {{}}",
    "evaluate groups --features lost.npy --output {}",
    "evaluate ijb --meta lost --features lost.npy --output {}",
    "evaluate ytf --splits lost --features lost.npy --output {}",
    "evaluate plot lost.json --output {}",
    f"gallery query lost.png --gallery lost {FOLDERS} --output {{}}.svg",
    "gallery tune --gallery lost --output {}",
]
WITHOUT_OUTPUT = ["doctor", "plan"]
# Those whose outputs are several files; others are replaced as a whole when they are complete.
LOCKED = [*INTO_FOLDERS, f"embed {FAIRS} --output {{}}.npy", "gallery tune --gallery {}"]
COMMANDS = [*INTO_FOLDERS, *INTO_FILES]


@pytest.fixture
def _working_folder(inputs, monkeypatch):
    monkeypatch.chdir(inputs)


pytestmark = pytest.mark.usefixtures("_working_folder")


def refuse(arguments, output, message):
    """Run the command, which must print one line that begins so, and write nothing."""
    before = sorted(Path.cwd().rglob("*"))
    done = fairloss(*(word.replace("_[", " [") for word in arguments.format(output).split(" ")))
    assert done.returncode == 2
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1, done.stderr
    assert re.match(f"error: {message}", lines[0])
    assert sorted(Path.cwd().rglob("*")) == before


def test_every_command_has_a_case():
    given = [*COMMANDS, *(f"{name} " for name in WITHOUT_OUTPUT)]
    assert [n for n in PROGRAM if not any(each.startswith(f"{n} ") for each in given)] == []


@pytest.mark.parametrize("arguments", COMMANDS)
def test_an_output_below_a_file_or_in_a_read_only_folder_is_refused_first(monkeypatch, arguments):
    Path("file").touch()
    refuse(arguments, "file/new", "output: expected a")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    refuse(arguments, "new", "output: expected a")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_an_output_of_the_other_kind_is_refused_first(arguments):
    for suffix in ("", ".npy", ".svg"):
        path = Path(f"taken{suffix}")
        if arguments in INTO_FOLDERS:
            path.touch()
        else:
            path.mkdir()
    refuse(arguments, "taken", "output: expected a f")


@pytest.mark.parametrize("arguments", LOCKED)
def test_an_output_that_another_run_writes_is_refused_first(monkeypatch, arguments):
    module = importlib.import_module("fairloss.io.output")
    monkeypatch.setattr(module, "_lock", lambda descriptor, path: False)
    Path("taken").mkdir()
    (Path("taken") / module.LOCK).touch()
    for name in (".taken.lock", ".taken.npy.lock"):
        Path(name).touch()
    name = "gallery" if "--gallery {}" in arguments else "output"
    refuse(arguments, "taken", f"{name}: expected one that no other run writes, got .*taken")


@pytest.mark.parametrize("arguments", INTO_FOLDERS)
def test_missing_inputs_leave_no_folder_behind(arguments):
    if "lost" in arguments:
        refuse(arguments, "new/output", "")
