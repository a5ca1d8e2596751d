"""Settings, folders and configuration files of any content: used as they are, or one error."""

from __future__ import annotations

import importlib
import os
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest
from command import fairloss
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fairloss.checks import expect
from fairloss.training import TrainConfig, as_yaml, load_config

pytestmark = pytest.mark.slow

PIECES = ["#", " #", ":", ": ", "=", "@", "%", "{", "}", "[", "]", "'", '"', " ", "~", "\\", "\t"]
PIECES += ["null", "true", "no", "1e5", "0x1F", "12:30", "010", "${HOME}", "${", "$", "???", "---"]
PIECES += [
    "&a",
    "*a",
    "!!int",
    "!",
    "|",
    ">",
    "- ",
    "? ",
    ",",
    ".",
    "a",
    "b c",
    "é",
    "人",
    "\u2028",
]
PIECES += ["<<", ".nan", "-.inf", "2026-01-02", "[old]", "[/b]", "\udce9", "\x7f", "`", "9" * 400]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
TEXTS |= st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
# A name in a folder, which need not be there.
FOLDERS = TEXTS.filter(
    lambda name: (
        name not in ("", ".", "..", "~") and "/" not in name and len(os.fsencode(name)) < 200
    )
)
NAMES = ["data", "epochs", "seed", "resume", "batch_size", "image_size", "channels", "augment"]
NAMES += ["device", "init", "init_backbone", "tensorboard", "model", "model.name", "head"]
NAMES += ["head.name", "head.kind", "head.margin", "head.policy", "head.options", "head.loss"]
NAMES += ["head.options.t", "optimizer", "optimizer.decay_at", "optimizer.learning_rate"]
NAMES += ["epoch", "learning_rate", "head.options.", ".", "data.x", "[x]", ""]
SETTINGS = st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=3)
# What stands in a configuration file: lines of settings, or anything.
LINES = st.tuples(st.sampled_from(NAMES), st.sampled_from([": ", ":", ":\n  ", ": |\n  "]), TEXTS)
FILES = st.lists(LINES.map("".join) | TEXTS, max_size=4).map("\n".join)


def fuzz(count):
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def training():
    """A working folder, and what the runs that are started in it train with: no one trains."""
    configs = []

    def record(config, faces, progress):
        expect(os.path.isdir(config.data), "data", "a folder", repr(config.data))
        path = Path(config.output) / "config.yaml"
        path.write_text(as_yaml(config), encoding="utf-8")
        again = load_config(path, [], TrainConfig)
        assert repr(asdict(again)) == repr(asdict(config))  # repr: NaN is NaN
        configs.append(config)
        return Path(config.output)

    module = importlib.import_module("fairloss.training.train")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "home").mkdir()
        (Path(folder) / "work").mkdir()
        patch.chdir(Path(folder) / "work")
        patch.setenv("HOME", os.path.realpath(f"{folder}/home"))
        patch.setenv("COLUMNS", "1000000")
        patch.setattr(module, "_train", record)
        patch.setattr(importlib.import_module("fairloss.cli.train"), "progress_bars", nullcontext)
        yield configs


def train(*arguments):
    """Run the command, which must succeed or print one line; return whether it succeeded."""
    done = fairloss("train", *arguments)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        assert done.stderr.startswith("error: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode == 0


def meant(name):
    """Return the path of a folder as a user of a shell means it."""
    return os.environ["HOME"] if name == "~" else f"{os.getcwd()}/{name}"


@fuzz(4000)
@given(FOLDERS, FOLDERS, st.booleans())
def test_a_run_reads_and_writes_the_folders_that_are_named(data, output, in_home):
    with training() as configs:
        used, unused = os.getcwd(), os.environ["HOME"]
        if in_home:
            used, unused = unused, used
        os.mkdir(f"{used}/{data}")
        prefix = "~/" if in_home else ""
        assert train(f"data={prefix}{data}", f"output={prefix}{output}")
        assert [config.data for config in configs] == [f"{used}/{data}"]
        assert os.path.isfile(f"{used}/{output}/config.yaml")
        assert (set(os.listdir(used)), os.listdir(unused)) == ({data, output}, [])


@fuzz(3000)
@given(SETTINGS, st.booleans())
def test_settings_of_any_text_are_used_or_refused(given_settings, there):
    folder = dict([("data", "faces"), *given_settings])["data"]
    assume("/" not in folder and "\0" not in "".join(text for _, text in given_settings))
    with training() as configs:
        if there and len(os.fsencode(folder)) < 200 and folder:
            os.makedirs(meant(folder), exist_ok=True)
        before = set(os.listdir())
        texts = [f"{name}={text}" for name, text in given_settings]
        if train("data=faces", *texts, "output=run"):
            assert configs[0].data == os.path.realpath(meant(folder))
            assert set(os.listdir()) == before | {"run"}
        else:
            assert set(os.listdir()) <= before | {"run"}


@fuzz(3000)
@given(FILES, FOLDERS, st.booleans())
def test_files_of_any_content_are_used_or_refused(content, name, plain):
    assume(name not in ("faces", "run") and not name.startswith(("-", "~", *NAMES[:-1])))
    with training() as configs:
        os.mkdir("faces")
        start = "optimizer:\n  momentum: 0.5\n" if plain else ""
        Path(name).write_bytes((start + content).encode("utf-8", "surrogateescape"))
        if train(name, "data=faces", "output=run"):
            assert configs[0].data == os.path.realpath("faces")
            assert configs[0].optimizer.momentum == (0.5 if plain else 0.9)
            assert set(os.listdir()) == {"faces", "run", name}
        else:
            assert set(os.listdir()) <= {"faces", "run", name}
