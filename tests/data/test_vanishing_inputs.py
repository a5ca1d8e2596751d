"""Images that cannot be used are named: dead links, unknown suffixes, empty files."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_cases import SMALL, write_checkpoint
from command import refuse, succeed
from PIL import Image
from synthetic import write_folder

from fairloss.data import list_images, read_features, read_folder
from fairloss.data.images import list_identified


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def faces(tmp_path):
    """Three images of each of the identities id0, id1 and id2."""
    return write_folder(tmp_path / "faces", [3, 3, 3], size=16)


def dead_link(path: Path, target: str = "/not/mounted/1.png") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def read_and_hear(folder: Path):
    """Return what `read_folder` reads, and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = read_folder(folder, (16, 16), 1)
    return result, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("target", ["../../gone/1.png", "loop.png", "moved.png", "/dev/null/1.png"])
def test_a_link_to_nothing_is_an_unreadable_image(faces, target):
    dead_link(faces / "id1" / "loop.png", target)
    read, heard = read_and_hear(faces)
    assert read.counts.tolist() == [3, 3, 3]
    assert len(heard) == 1
    assert heard[0].startswith("1 unreadable images skipped: id1/loop.png (")


def test_an_identity_of_dead_links_alone_is_named(faces):
    for number in range(7):
        dead_link(faces / "id9" / f"{number}.jpg")
    read, heard = read_and_hear(faces)
    assert read.identities == ["id0", "id1", "id2"]
    assert heard[0].startswith("7 unreadable images skipped: id9/0.jpg (")
    assert heard[1] == "1 identities without a readable image left out: id9"


def test_a_dead_link_to_an_identity_is_named(faces):
    dead_link(faces / "id3", "/not/mounted/id3")
    read, heard = read_and_hear(faces)
    assert read.identities == ["id0", "id1", "id2"]
    assert any("id3" in text for text in heard)


def test_links_to_what_exists_are_read(faces, tmp_path):
    write_folder(tmp_path / "elsewhere", [2, 4], size=16, seed=1)
    (faces / "id3").symlink_to(tmp_path / "elsewhere" / "id1")
    (faces / "id0" / "more.png").symlink_to(tmp_path / "elsewhere" / "id0" / "000.png")
    read, heard = read_and_hear(faces)
    assert dict(zip(read.identities, read.counts.tolist(), strict=True)) == {
        "id0": 4,
        "id1": 3,
        "id2": 3,
        "id3": 4,
    }
    assert heard == []


@pytest.mark.parametrize("suffix", [".tiff", ".tif", ".ppm", ".jfif", ".TGA", ".jpe", ".jp2"])
def test_images_of_every_suffix_that_pillow_registers_are_read(tmp_path, suffix):
    for number, identity in enumerate(("a", "b")):
        (tmp_path / identity).mkdir()
        for value in range(number + 1):
            flat = np.full((16, 16), 100 * number + 10 * value, np.uint8)
            Image.fromarray(flat).save(tmp_path / identity / f"{value}{suffix}")
    read, heard = read_and_hear(tmp_path)
    assert read.names == [f"a/0{suffix}", f"b/0{suffix}", f"b/1{suffix}"]
    assert read.counts.tolist() == [1, 2]
    assert np.abs(read.images([2]).int().numpy() - 110).max() <= 3
    assert heard == []
    assert list_images(tmp_path) == read.names


def counts(text: str, number: int, suffix: str) -> bool:
    """Return whether the text has a number beside a suffix."""
    return bool(re.search(rf"\b{number}\W+(of )?{re.escape(suffix)}", text)) or bool(
        re.search(rf"{re.escape(suffix)}\W+{number}\b", text)
    )


def test_images_whose_suffix_is_not_taken_are_counted_by_suffix(faces):
    jpeg = Image.fromarray(np.zeros((16, 16), np.uint8))
    for name in ("id0/a.jpg_large", "id1/b.jpg_large", "id2/c.jpg~"):
        with (faces / name).open("wb") as file:
            jpeg.save(file, format="JPEG")
    read, heard = read_and_hear(faces)
    assert len(read) == 9
    assert len(heard) == 1
    assert counts(heard[0], 2, ".jpg_large")
    assert counts(heard[0], 1, ".jpg~")


def test_pictures_of_a_phone_are_counted(faces):
    for number in range(4):
        (faces / "id1" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    read, heard = read_and_hear(faces)
    assert len(read) == 9
    assert len(heard) == 1
    assert counts(heard[0].lower(), 4, ".heic")


@pytest.fixture
def model(tmp_path):
    return write_checkpoint(tmp_path / "run", seed=0)


def test_embedding_a_dead_link_is_refused_by_name(faces, model, tmp_path):
    dead_link(faces / "id1" / "gone.png")
    output = tmp_path / "f.npy"
    options = ("--data", faces, "--checkpoint", model, "--output", output)
    refuse("id1/gone.png: cannot be read", "embed", *options)
    assert not output.exists()
    (faces / "id1" / "gone.png").unlink()
    succeed("embed", *options)
    assert len(read_features(output)) == 9


def test_a_gallery_of_a_dead_link_is_refused_by_name(faces, model, tmp_path):
    pytest.importorskip("faiss")
    dead_link(faces / "id2" / "gone.webp")
    options = ("--data", faces, "--checkpoint", model, "--output", tmp_path / "gallery")
    refuse("id2/gone.webp: cannot be read", "gallery", "build", *options)


def test_verification_names_a_dead_link(faces, model, tmp_path):
    dead_link(faces / "id0" / "gone.png")
    options = ("--output", tmp_path / "pairs.json", "--replicates", 5)
    done = succeed("evaluate", "pairs", "--data", faces, "--checkpoint", model, *options)
    assert "1 unreadable images skipped: id0/gone.png" in done.stderr
    assert json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8"))["genuine"] == 9


def test_training_names_what_it_leaves_out(faces, tmp_path):
    dead_link(faces / "id0" / "gone.png")
    (faces / "id1" / "empty.png").touch()
    (faces / "id2" / "006.png").rename(faces / "id2" / "006.tif")
    done = succeed("train", f"data={faces}", f"output={tmp_path / 'mine'}", *SMALL, "epochs=1")
    assert "2 unreadable images skipped: id0/gone.png" in done.stderr
    assert "id1/empty.png" in done.stderr
    record = json.loads((tmp_path / "mine" / "identities.json").read_text(encoding="utf-8"))
    assert record["identities"] == ["id0", "id1", "id2"]
    assert record["counts"] == [3, 3, 3]


def test_a_dead_link_has_an_identity_in_a_listing(faces):
    dead_link(faces / "id1" / "001b.png")
    names, identities = list_identified(faces)
    assert names[3:7] == ["id1/001b.png", "id1/003.png", "id1/004.png", "id1/005.png"]
    assert identities[3] == "id1"
