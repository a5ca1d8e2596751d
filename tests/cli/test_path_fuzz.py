"""Random texts as names of files and paths of all commands: used as they are, or refused."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from pathlib import Path

import pytest
from cli_cases import SMALL
from command import fairloss
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from fairloss.training import TrainConfig, load_config

pytestmark = pytest.mark.slow

PIECES = ["~", "/", "./", " #", "#", ": ", "{", "}", "[", "]", "'", '"', "\\", "=", ",", "..", "."]
PIECES += ["-", "*", "?", "%", "@", "&", "!", "|", ">", "$HOME", "${x}", "???", "null", "true"]
PIECES += ["1e5", "007", "2026-01-02", " ", "\t", "\n", "\x85", "\u2028", "é", "\udcff", "data"]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
TEXTS |= st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def campaign(examples):
    """Settings of a part of the campaign: the same examples in every run, kept nowhere."""
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*slow, HealthCheck.filter_too_much],
    )


@pytest.fixture(autouse=True)
def _terminal_and_cache(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100000")
    importlib.import_module("matplotlib.font_manager")  # makes its cache in the real home folder


@contextlib.contextmanager
def working_folder():
    """A new working folder, whose folder `home` is the home folder."""
    before, home = Path.cwd(), os.environ.get("HOME", "")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "home").mkdir()
        os.chdir(folder)
        os.environ["HOME"] = str(folder / "home")
        try:
            yield folder
        finally:
            os.chdir(before)
            os.environ["HOME"] = home


def entries(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def run(*arguments):
    """Run the command, which must succeed, or end with one error and no traceback."""
    done = fairloss(*arguments)
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
    if done.returncode == 2:
        assert ("error: " in done.stderr) or ("Usage: " in done.stderr)
    return done


def file_name(text):
    """True for the name of a file that is not hidden."""
    with contextlib.suppress(UnicodeEncodeError):
        plain = text and "/" not in text and not text.startswith((".", "-"))
        return plain and len(os.fsencode(text)) < 200
    return False


NAMES = TEXTS.filter(file_name)


@campaign(1000)
@given(st.tuples(NAMES, NAMES), st.sets(NAMES, min_size=2, max_size=3), NAMES)
def test_folders_and_names_are_read_as_they_are(monkeypatch, folders, identities, image):
    data, output = folders
    assume(len({data, output, "home"}) == 3 and "~" not in (data, output))
    seen = []

    def stop(config, faces, run_folder):
        seen.append((config.data, faces.identities, faces.names, run_folder.path))
        raise ValueError("begins")

    monkeypatch.setattr(importlib.import_module("fairloss.training.train"), "start_or_resume", stop)
    with working_folder() as folder:
        for identity in identities:
            Path(data, identity).mkdir(parents=True)
            Image.new("L", (32, 32)).save(Path(data, identity, "x.png"))
            Path(data, identity, "x.png").rename(Path(data, identity, f"{image}.png"))
        done = run("train", f"data={data}", f"output={output}", *SMALL)
        assert "begins" in done.stderr
        (read_data, read_identities, names, run_folder) = seen[0]
        assert read_data == str(folder / data)
        assert set(read_identities) == identities
        assert set(names) == {f"{identity}/{image}.png" for identity in identities}
        assert os.path.abspath(run_folder) == str(folder / output)
        assert {path.name for path in folder.iterdir()} <= {data, output, "home"}


@campaign(20)
@given(NAMES, NAMES)
def test_a_run_is_resumed_from_what_it_wrote(data, output):
    assume(len({data, output, "home"}) == 3 and "~" not in (data, output))
    with working_folder() as folder:
        for identity in "ab":
            Path(data, identity).mkdir(parents=True)
            for number in range(2):
                Image.new("L", (32, 32), 99 * number).save(Path(data, identity, f"{number}.png"))
        settings = (f"data={data}", f"output={output}", "epochs=1", *SMALL)
        assert run("train", *settings).returncode == 0
        before = entries(folder)
        assert run("train", *settings).returncode == 0
        assert run("train", Path(output, "config.yaml")).returncode == 0
        assert entries(folder) == before
        assert {path.name for path in folder.iterdir()} == {data, output, "home"}
        assert load_config(Path(output, "config.yaml"), [], TrainConfig).output == output


COMMANDS = [
    ("collect", "run={}", "output={}"),
    ("search-loss", "data={}", "output={}"),
    ("demo", "data={}", "output={}"),
    ("fit-policy", "--output={}", "--", "{}"),
    ("embed", "--data={}", "--checkpoint={}", "--output={}"),
    ("export", "--checkpoint={}", "--output={}"),
    ("report", "--", "{}"),
    ("evaluate", "pairs", "--data={}", "--checkpoint={}", "--output={}"),
    ("evaluate", "groups", "--features={}", "--attributes={}", "--column={}", "--output={}"),
    ("evaluate", "plot", "--output={}", "--", "{}"),
    ("gallery", "build", "--data={}", "--checkpoint={}", "--output={}"),
    ("gallery", "query", "--gallery={}", "--checkpoint={}", "--", "{}"),
    ("gallery", "merge", "--output={}", "--", "{}"),
    ("data", "align", "--data={}", "--landmarks={}", "--output={}"),
]


# Paths in the working or home folder. No data, an empty text, is the demo's own.
RELATIVE = TEXTS.filter(lambda text: text and text[0] != "/" and ".." not in text)


@campaign(2000)
@given(st.sampled_from(COMMANDS), st.lists(RELATIVE, min_size=4, max_size=4))
def test_paths_that_do_not_exist_are_refused_and_nothing_is_written(command, texts):
    remaining = iter(texts)
    words = [word.replace("{}", next(remaining)) if "{}" in word else word for word in command]
    with working_folder() as folder:
        run(*words)
        assert set(folder.rglob("*")) <= {folder / "home"}
