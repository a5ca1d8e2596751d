"""Names that look like markup, links, emoji codes or formulas are shown as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import SMALL, clustered_embeddings
from command import refuse, succeed
from PIL import Image
from synthetic import write_folder

from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table
from fairloss.data import write_features
from fairloss.gallery import Gallery

NAMES = [
    "a [b]/1.jpg",
    "a [link=http://x.org]/1.jpg",
    "a [/link]/1.jpg",
    "a :smile:/1.jpg",
    "a \\[b]/1.jpg",
    "a [#ff0000]/1.jpg",
    "a [on red]\\/1.jpg",
    "a [/]/1.jpg",
    "a [@click=x]/1.jpg",
    "a \\\\[i]x[/i]/1.jpg",
    "a [[bold]]/1.jpg",
]


def words(text: str) -> str:
    """Return a text in one line, as a title may be wrapped."""
    return " ".join(text.split())


def write_gallery(folder: Path, names: list[str]) -> Path:
    gallery = Gallery(16)
    gallery.add(names, np.random.default_rng(0).normal(size=(len(names), 16)))
    gallery.save(folder)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A gallery of the names."""
    pytest.importorskip("faiss")
    return write_gallery(tmp_path_factory.mktemp("hostile") / "gallery", NAMES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A gallery of an ordinary long name."""
    pytest.importorskip("faiss")
    return write_gallery(tmp_path_factory.mktemp("plain") / "gallery", ["a" * 60 + "/1.jpg"])


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """Write a probe image of the given name, relative to the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(name: str) -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(name)
        return name

    return write


def test_names_of_matches_are_printed_as_they_are(hostile, model, probe):
    options = ("--gallery", hostile, "--checkpoint", model, "-k", len(NAMES))
    done = succeed("gallery", "query", probe("me.png"), *options)
    shown = [line.strip("│ ").split("│")[0].strip() for line in done.stdout.splitlines()]
    assert sorted(set(shown) & set(NAMES)) == sorted(NAMES)


@pytest.mark.parametrize(
    "name",
    ["[link=x]/me.png", ":dog:.png", "\\[b].png", "x [/i] y", "[blink].png", "[", "[old] [new]"],
)
def test_the_name_of_a_probe_is_printed_as_it_is(plain, model, probe, name):
    file = probe(name if name.endswith(".png") else f"{name}/me.png")
    done = succeed("gallery", "query", file, "--gallery", plain, "--checkpoint", model)
    assert file in words(done.stdout)


@pytest.mark.parametrize("text", [*NAMES, "[/]", ":x:", "\\"])
def test_titles_columns_and_cells_are_printed_as_they_are(capsys, text):
    print_table(f"title {text} of the table", ("first", f"column {text}"), [("one", text)])
    shown = words(capsys.readouterr().out)
    assert f"title {text} of the table" in shown
    assert f"column {text}" in shown
    assert shown.count(text) == 3


@pytest.mark.parametrize("label", ["train run [v1]", "train x[/b]", "train :dog:", "train \\[i]"])
def test_labels_of_progress_are_shown_as_they_are(capsys, label):
    with progress_bars() as progress:
        progress(label, 1, 2)
        progress(label, 2, 2)
    shown = capsys.readouterr().err
    assert f"{label} " in shown
    assert "2/2" in shown


def test_the_name_of_a_run_is_shown_while_it_trains(data, tmp_path):
    run = tmp_path / "mine [v0.1]:fire:x"
    done = succeed("train", f"data={data}", f"output={run}", *SMALL, "epochs=1")
    assert "train mine [v0.1]:fire:x" in done.stderr
    assert str(run / "model.pt") in done.stdout


@pytest.mark.parametrize("name", [":smile:", "[bold]", "x[/red]", "back\\", "\\[b]"])
def test_an_error_names_a_file_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    refuse(f"error: experience: {name}.npz does not exist", "fit-policy", f"{name}.npz")


@pytest.mark.parametrize("name", [":warning:.png", "[b]x.png", "y[-b].png"])
def test_a_warning_names_a_file_as_it_is(tmp_path, name):
    folder = write_folder(tmp_path / "faces", [3, 3])
    (folder / "id0" / name).write_bytes(b"no image")
    run = ("train", f"data={folder}", f"output={tmp_path / 'run'}", *SMALL, "epochs=1")
    assert f"1 unreadable images skipped: id0/{name} (" in words(succeed(*run).stderr)


@pytest.mark.parametrize("groups", [("[old]", "[new]"), ("[b]", "[/b]"), (":man:", ":woman:")])
def test_groups_are_printed_by_their_names(tmp_path, groups):
    names = [f"p{n}/{i}.png" for n in range(20) for i in range(4)]
    who = [name.partition("/")[0] for name in names]
    write_features(tmp_path / "f.npy", names, clustered_embeddings(noise=2.0), who)
    rows = [f"{name},{groups[n >= 40]}" for n, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["name,group", *rows]), encoding="utf-8")
    options = ("--attributes", tmp_path / "t.csv", "--output", tmp_path / "g.json")
    options += ("--features", tmp_path / "f.npy", "--replicates", 5)
    shown = words(succeed("evaluate", "groups", *options).stdout)
    for group in groups:
        assert f"{group}: 60 genuine" in shown
    worst = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))["worst"]
    assert shown.count(worst) == 2


def test_subsets_and_baselines_are_printed_by_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, subsets = [], ("Asian [v2]", "Asian [v3]")
    for subset in subsets:
        lines = [f"m.{n}\t1\t2\nm.{n}\t1\tm.{n + 1}\t3" for n in range(0, 20, 2)]
        Path("txts", subset).mkdir(parents=True)
        listed = Path("txts", subset, f"{subset}_pairs.txt")
        listed.write_text("\n".join(lines), encoding="utf-8")
        names += [f"{subset}/m.{n}/m.{n}_{i:04d}.jpg" for n in range(20) for i in range(1, 5)]
    for file, noise in (("f.npy", 0.4), ("[base].npy", 2.0)):
        write_features(file, names, np.tile(clustered_embeddings(noise=noise), (2, 1)))
    options = ("--lists", "txts", "--features", "f.npy", "--against", "[base].npy")
    shown = words(succeed("evaluate", "rfw", *options, "--replicates", 5).stdout)
    assert "minus [base].npy" in shown
    for subset in subsets:
        assert f"{subset} │" in shown


def test_a_gallery_is_announced_by_its_name(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("g [b]:smile:").symlink_to(hostile)
    Path("h [b]:smile:").symlink_to(hostile)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    done = succeed("gallery", "merge", "g [b]:smile:", "--output", "all [/b]:dog:")
    assert "reading g [b]:smile:" in done.stderr
    assert "writing all [/b]:dog:" in done.stderr
    monkeypatch.delenv("FORCE_COLOR")
    again = succeed("gallery", "merge", "h [b]:smile:", "--output", "again [/b]:dog:")
    assert f"{len(NAMES)} embeddings, flat index: again [/b]:dog:" in again.stdout


@pytest.mark.parametrize("name", ["$x_1$", "$\\frac$", "<b>&amp;$a$"])
def test_a_picture_shows_names_as_they_are(model, probe, tmp_path, name):
    pytest.importorskip("faiss")
    probe(f"faces/{name}/0.png")
    probe(f"faces/{name}/1.png")
    options = ("--data", "faces", "--checkpoint", model)
    succeed("gallery", "build", *options, "--output", "gallery")
    options += ("--gallery", "gallery", "--output", "nearest.svg")
    succeed("gallery", "query", f"faces/{name}/0.png", *options)
    drawn = (tmp_path / "nearest.svg").read_text(encoding="utf-8")
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"{escaped}/0.png<" in drawn
    assert f"{escaped}/1.png<" in drawn
