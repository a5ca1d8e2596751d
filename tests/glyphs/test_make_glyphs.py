"""Sets from synthetic fonts, end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from glyph_fonts import CHARACTERS, write_font

from fairloss.data import FaceImages, read_images
from fairloss.glyphs import GlyphOptions, make_glyphs, shards
from fairloss.training import ModelConfig, TrainConfig, train

NATURAL = {"smallest": 2}
PARETO = {"classes": 6, "validation": 4, "test": 5, "held_out_typefaces": 3, "largest": 5}


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read(folder: Path) -> FaceImages:
    return read_images(folder, (32, 32), 1)


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards, "CHARACTERS", 8)


@pytest.fixture(scope="module")
def pareto(fonts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("pareto") / "glyphs"
    return make_glyphs(output, GlyphOptions(fonts=str(fonts), **PARETO))


def test_natural_counts(fonts: Path, tmp_path: Path):
    calls = []
    options = GlyphOptions(fonts=str(fonts), **NATURAL)
    output = make_glyphs(tmp_path / "glyphs", options, progress=lambda *call: calls.append(call))
    faces = read(output / "train")
    assert faces.identities == [f"U+{character:04X}" for character in CHARACTERS]
    # plain design d lacks the last 3 d characters; brush and pixel have all
    assert faces.counts.tolist() == [3 + sum(c < 40 - 3 * d for d in range(7)) for c in range(40)]
    assert "U+4E00/brush-a" in faces.names
    assert not faces.mirror
    assert [path.name for path in tmp_path.iterdir()] == ["glyphs"]
    assert {path.name for path in output.iterdir()} == {"train", "manifest.json"}
    assert calls[-1] == ("write sets", 1, 1)
    assert [call[1:] for call in calls if call[0] == "draw characters"] == [
        (done, 40) for done in (8, 16, 24, 32, 40)
    ]


def test_images_are_centered_renderings(fonts: Path, tmp_path: Path):
    from glyph_fonts import CELLS, pattern

    output = make_glyphs(tmp_path / "glyphs", GlyphOptions(fonts=str(fonts)))
    faces = read(output / "train")
    image = faces[faces.names.index(f"U+{CHARACTERS[11]:04X}/plain4")][0][0].numpy()
    # 27 of 32 pixels, three a cell; the grid's first row is at the bottom
    top = np.flatnonzero(image.any(axis=1))[0]
    left = np.flatnonzero(image.any(axis=0))[0]
    cells = image[top + 1 : top + 3 * CELLS : 3, left + 1 : left + 3 * CELLS : 3] > 127
    assert np.array_equal(cells[::-1], pattern(CHARACTERS[11], 4))
    assert {int(top), int(left)} <= {2, 3}


def test_sets_are_disjoint(pareto: Path):
    sets = {name: read(pareto / name) for name in ("train", "validation", "test", "closed")}
    held = {t["name"] for t in manifest(pareto)["typefaces"] if t["held_out"]}
    shown = {name: set(faces.identities) for name, faces in sets.items()}
    by = {name: {n.split("/")[1] for n in faces.names} for name, faces in sets.items()}
    assert shown["train"] == shown["closed"]
    assert shown["train"].isdisjoint(shown["validation"] | shown["test"])
    assert shown["validation"].isdisjoint(shown["test"])
    assert [len(shown[name]) for name in ("train", "validation", "test")] == [6, 4, 5]
    assert len(held) == 3
    assert "brush-a" in held
    assert len(held & {"pixel-a", "pixel-b"}) == 1
    assert by["test"] == by["closed"] == held
    assert held.isdisjoint(by["train"] | by["validation"])
    assert sets["test"].counts.tolist() == [3] * 5
    assert sets["closed"].counts.tolist() == [3] * 6


def test_a_pareto_shape(pareto: Path):
    # 5 * (2/5)^(c/5)
    assert sorted(read(pareto / "train").counts.tolist()) == [2, 2, 3, 3, 4, 5]
    described = manifest(pareto)["sets"]["train"]
    assert described["images"] == 19
    assert described["images_of_a_character"]["0.5"] == 3


def test_same_bytes_whatever_jobs(fonts: Path, pareto: Path, tmp_path: Path):
    options = GlyphOptions(fonts=str(fonts), **PARETO)
    again = make_glyphs(tmp_path / "again", options, jobs=2)
    assert contents(again) == contents(pareto)


def test_another_seed_draws_other_characters(fonts: Path, pareto: Path, tmp_path: Path):
    other = make_glyphs(tmp_path / "other", GlyphOptions(fonts=str(fonts), **PARETO, seed=1))
    assert contents(other)["train/index.json"] != contents(pareto)["train/index.json"]


KILLED = """
import os, signal, sys
from fairloss.glyphs import GlyphOptions, make_glyphs, shards
shards.CHARACTERS = 8
original, count = shards.ShardRenderer.render, 0
def render(self, characters):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, characters)
shards.ShardRenderer.render = render
make_glyphs(sys.argv[2], GlyphOptions(fonts=sys.argv[1]))
"""


def test_a_killed_run_resumes(fonts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = GlyphOptions(fonts=str(fonts))
    whole = make_glyphs(tmp_path / "whole", options)
    output = tmp_path / "glyphs"
    command = [sys.executable, "-c", KILLED, str(fonts), str(output)]
    path = os.pathsep.join(filter(None, sys.path))
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    with pytest.raises(ValueError, match=r"\.glyphs\.partial\): expected the same .* got other op"):
        make_glyphs(output, GlyphOptions(fonts=str(fonts), seed=1))
    drawn = []
    original = shards.ShardRenderer.render
    monkeypatch.setattr(
        shards.ShardRenderer,
        "render",
        lambda self, characters: drawn.append(characters) or original(self, characters),
    )
    make_glyphs(output, options)
    assert len(drawn) == 3  # of five shards two were there
    assert contents(output) == contents(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["glyphs", "whole"]
    make_glyphs(output, options)  # nothing left to do
    assert len(drawn) == 3
    with pytest.raises(
        ValueError, match="expected the same glyphs or a new folder, got other options"
    ):
        make_glyphs(output, GlyphOptions(fonts=str(fonts), size=16))


def test_faulty_images_are_left_out(tmp_path: Path):
    folder = tmp_path / "fonts"
    blank, tofu, broken = ([CHARACTERS[position]] for position in (31, 32, 33))
    write_font(folder / "a.ttf", 0)
    write_font(folder / "a-copy.ttf", 0, CHARACTERS[:35])
    write_font(folder / "b.ttf", 1, CHARACTERS[:34], blank=blank, tofu=tofu, broken=broken)
    # only what the first 30 characters show decides which faces are usable
    write_font(folder / "c.ttf", 2, CHARACTERS[:30])
    one = make_glyphs(tmp_path / "one", GlyphOptions(fonts=str(folder), smallest=1))
    faces = read(one / "train")
    names = [name for name in faces.names if name.startswith(f"U+{CHARACTERS[31]:04X}")]
    assert names == [f"U+{CHARACTERS[31]:04X}/a"]
    assert manifest(one)["designs"] == 3
    losses = {"blank": 1, "missing": 1, "failed": 1, "duplicate": 0}
    assert manifest(one)["images_left_out"] == losses
    assert len(faces) == 40 + 31 + 30
    # all faces: the copy draws the same bytes, which count once
    every = make_glyphs(tmp_path / "all", GlyphOptions(fonts=str(folder), all_faces=True))
    assert manifest(every)["images_left_out"] == losses | {"duplicate": 35}
    assert read(every / "train").num_classes == 31  # with two images or more


def test_a_design_draws_with_any_of_its_faces(tmp_path: Path):
    folder = tmp_path / "fonts"
    write_font(folder / "most.ttf", 0, CHARACTERS[:36], blank=CHARACTERS[34:36])
    write_font(folder / "rest.ttf", 0, CHARACTERS[5:])
    output = make_glyphs(tmp_path / "glyphs", GlyphOptions(fonts=str(folder), smallest=1))
    by = [name.split("/")[1] for name in sorted(read(output / "train").names)]
    # 36 characters against 35 put "most" first; what it lacks or leaves blank "rest" draws
    assert by == ["most"] * 34 + ["rest"] * 6


def test_manifest_names_fonts_by_digest(fonts: Path, pareto: Path):
    import hashlib

    faces = {face["name"]: face for face in manifest(pareto)["typefaces"]}
    assert len(faces) == 10
    expected = hashlib.sha256((fonts / "pixel" / "b.ttf").read_bytes()).hexdigest()
    assert faces["pixel-b"]["sha256"] == expected
    assert str(fonts) not in (pareto / "manifest.json").read_text(encoding="utf-8")
    images = (pareto / "test" / "images.npy").read_bytes()
    digest = manifest(pareto)["sets"]["test"]["sha256"]["images.npy"]
    assert digest == hashlib.sha256(images).hexdigest()


def test_training_reads_them(pareto: Path, tmp_path: Path):
    settings = TrainConfig(
        data=str(pareto / "train"),
        output=str(tmp_path / "run"),
        epochs=1,
        batch_size=8,
        image_size=[32, 32],
        channels=1,
        model=ModelConfig(embedding_size=8),
    )
    assert (train(settings) / "model.pt").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fonts": "nowhere"}, "fonts: expected lite, full, or a folder of fonts, got nowhere"),
        ({"classes": 41}, "classes: expected at most 40, as many as qualify, got 41"),
        ({"test": 41, "classes": 2}, "test: expected at most 40, as many as qualify, got 41"),
        ({"held_out_typefaces": 10}, "held_out_typefaces: expected .* of 10 designs, .* got 10"),
    ],
)
def test_impossible_requests_are_refused(fonts: Path, tmp_path: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_glyphs(tmp_path / "glyphs", GlyphOptions(**{"fonts": str(fonts)} | changes))
    assert not (tmp_path / "glyphs").exists()


@pytest.mark.slow
def test_the_lite_set(tmp_path: Path):
    """Fetches 72 MB once; 22 designs, and what the manifest of the 300-class task promises."""
    options = GlyphOptions(classes=300, validation=200, test=500, held_out_typefaces=4, largest=16)
    output = make_glyphs(tmp_path / "glyphs", options, jobs=os.cpu_count() or 1)
    assert manifest(output)["designs"] == 22
    sizes = {name: one["characters"] for name, one in manifest(output)["sets"].items()}
    assert sizes == {"train": 300, "validation": 200, "test": 500, "closed": 300}
    assert read(output / "test").counts.tolist() == [4] * 500
