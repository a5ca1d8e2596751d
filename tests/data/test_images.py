"""Images of lists are found in folders: by their names, or with another suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fairloss.data import image_batches, write_arrays
from fairloss.data.images import find_images
from fairloss.data.suffixes import without_suffix
from fairloss.io.atomic import FormatError

NAMES = ("a/1.png", "a/1.v2.bmp", "a/1.v2.PNG", "b.c/1.gif", "b/1.jpg.png", "b/1.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of one gray each: 0, 10, 20, ..."""
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        gray = Image.new("L", (4, 4), 10 * number)
        gray.save(tmp_path / name, format="PNG")
    (tmp_path / "a" / "1").mkdir()  # a folder is no image
    return tmp_path


def grays(folder: Path, names: list[str]) -> list[int]:
    [pixels] = image_batches(folder, names, (4, 4), 1)
    return pixels[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("name", "gray"),
    [
        ("a/1.jpg", 0),
        ("a/1", 0),
        ("a\\1.JPEG", 0),
        ("./a//1.png", 0),
        ("a/1.v2.bmp", 10),
        ("a/1.v2.PNG", 20),
        ("b.c/1", 30),
        ("b/1.jpg.gif", 40),
        ("b/1.txt", 50),
    ],
)
def test_an_image_is_found(folder, name, gray):
    assert grays(folder, ["a/1.png", name]) == [0, gray]
    assert find_images(folder, [name, "a/2.png"]) == [name]


def test_only_what_is_asked_for_must_be_unique(folder):
    with pytest.raises(FormatError, match=r"one image 'a/1\.v2\.jpg', got 'a/1\.v2\.\w+' and"):
        grays(folder, ["a/1.png", "a/1.v2.jpg"])


@pytest.mark.parametrize("name", ["b/1", "a/1.v3", "c/1.png", "A/1.gif", "b/1.png"])
def test_a_missing_image_is_named(folder, name):
    with pytest.raises(FormatError, match=f"none for 1 of 1 images, the first {name!r}"):
        grays(folder, [name, "a/1.png"])


def test_a_dead_link_is_not_replaced_by_another_image(folder):
    (folder / "a" / "1.jpg").symlink_to("nothing")
    with pytest.raises(FormatError, match=r"a/1\.jpg: cannot be read as an image"):
        grays(folder, ["a/1.jpg"])


def test_arrays_are_found_likewise(tmp_path):
    pixels = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1).repeat(4, 2).repeat(4, 3)
    numbers = np.arange(3)
    write_arrays(tmp_path, [pixels], numbers * 0, numbers, ["a"], ["1.png", "1.5", "1"], True)
    assert grays(tmp_path, ["a/1.5.jpg", "a\\1", "a/1.png"]) == [1, 2, 0]
    with pytest.raises(FormatError, match=r"one image 'a/1\.jpg', got 'a/1\.png' and 'a/1'"):
        grays(tmp_path, ["a/1.jpg"])


@pytest.mark.parametrize("name", [".jpg", "a/.png", "a.b/c", "a/b.c", "a/1.5", "a/b.jpg.old"])
def test_what_is_no_suffix_of_an_image_stays(name):
    assert without_suffix(name) == name
