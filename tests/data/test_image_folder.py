"""Reading folders: order, formats, orientation, damaged files and wrong layouts."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fairloss.data import UnreadableImage, list_images, read_folder

Write = Callable[..., Path]


def read_quietly(folder: Path, **options: object):  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_folder(folder, **options)  # type: ignore[arg-type]


def test_natural_order_and_labels(tmp_path: Path, write_image: Write) -> None:
    for value, name in enumerate(["s1/2.png", "s1/10.png", "s2/1.png", "s10/b1.PNG", "s10/b2.png"]):
        write_image(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("not a folder", encoding="utf-8")
    (tmp_path / "s1" / "notes.txt").write_text("not an image", encoding="utf-8")
    (tmp_path / "s1" / "._2.png").write_bytes(b"metadata of another system")
    (tmp_path / ".hidden").mkdir()
    faces = read_quietly(tmp_path, image_size=(4, 6), channels=1)
    assert faces.identities == ["s1", "s2", "s10"]
    assert faces.names == ["s1/2.png", "s1/10.png", "s2/1.png", "s10/b1.PNG", "s10/b2.png"]
    assert faces.labels.tolist() == [0, 0, 1, 2, 2]
    assert faces.counts.tolist() == [2, 1, 2]
    assert faces.images(range(5)).shape == (5, 1, 4, 6)
    assert faces.images(range(5))[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "pgm", "bmp", "webp"])
def test_every_format(tmp_path: Path, write_image: Write, suffix: str) -> None:
    write_image(tmp_path / "a" / f"1.{suffix}", 100)
    faces = read_quietly(tmp_path, image_size=(8, 8), channels=1)
    # lossy formats may be off by a little
    assert (faces[0][0].int() - 100).abs().max() <= 2


def test_gray_and_rgb(tmp_path: Path, write_image: Write) -> None:
    write_image(tmp_path / "a" / "color.png", (255, 0, 100))
    write_image(tmp_path / "a" / "gray.png", 77)
    rgb = read_quietly(tmp_path, image_size=(5, 5)).images([0, 1])[:, :, 0, 0]
    assert rgb.tolist() == [[255, 0, 100], [77, 77, 77]]
    gray = read_quietly(tmp_path, image_size=(5, 5), channels=1).images([0, 1])[:, :, 0, 0]
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    assert gray.tolist() == [[round(0.299 * 255 + 0.114 * 100)], [77]]


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    values = np.array([[0, 256], [40_000, 65_535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a" / "1.png")
    faces = read_quietly(tmp_path, image_size=(2, 2), channels=1)
    assert faces[0][0][0].tolist() == [[0, 1], [156, 255]]


def test_orientation_is_applied(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned a quarter to the left: show it turned to the right
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png", exif=exif)
    faces = read_quietly(tmp_path, image_size=(3, 2), channels=1)
    assert faces[0][0][0].tolist() == np.rot90(pixels, k=-1).tolist()


def test_crop_is_central_and_keeps_proportions(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    pixels = np.zeros((8, 16), dtype=np.uint8)
    pixels[:, 4:12] = 200
    Image.fromarray(pixels).save(tmp_path / "a" / "1.png")
    faces = read_quietly(tmp_path, image_size=(8, 8), channels=1)
    assert (faces[0][0] == 200).all()


def test_damage_is_skipped_and_named(tmp_path: Path, write_image: Write) -> None:
    for identity in ("good", "half", "single"):
        write_image(tmp_path / identity / "1.png", 9)
    whole = write_image(tmp_path / "half" / "2.png", 9, (64, 64)).read_bytes()
    (tmp_path / "half" / "2.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "ruined").mkdir()
    for shot in range(6):
        (tmp_path / "ruined" / f"{shot}.jpg").write_bytes(b"no picture")
    (tmp_path / "vacant").mkdir()
    with pytest.warns(UnreadableImage) as caught:
        faces = read_folder(tmp_path, (4, 4))
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 2
    assert messages[0].startswith("7 unreadable images skipped: half/2.png (")
    assert "ruined/3.jpg" in messages[0]
    assert "ruined/4.jpg" not in messages[0]
    assert messages[0].endswith(", ...")
    assert messages[1] == "2 identities without a readable image left out: ruined, vacant"
    assert {warning.filename for warning in caught} == {__file__}
    assert faces.identities == ["good", "half", "single"]
    assert faces.names == ["good/1.png", "half/1.png", "single/1.png"]
    assert faces.counts.tolist() == [1, 1, 1]
    assert (faces.images(range(3)) == 9).all()


def test_layout_errors(tmp_path: Path, write_image: Write) -> None:
    expected = "expected folder/identity/image"
    with pytest.raises(ValueError, match=f"{expected}.*got no folder"):
        read_folder(tmp_path / "missing")
    with pytest.raises(ValueError, match=f"{expected}.*got no folder in it"):
        read_folder(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=f"{expected}.*got 1 folders with 0 images"):
        read_folder(tmp_path)
    write_image(tmp_path / "a" / "1.png")
    write_image(tmp_path / "face.png")
    with pytest.raises(ValueError, match=f"{expected}.*got 1 images directly in it.*face.png"):
        read_folder(tmp_path)


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    with (
        pytest.warns(UnreadableImage, match=r"1 unreadable images skipped: a/1.png"),
        pytest.raises(ValueError, match="1 folders with 1 images, none of them readable"),
    ):
        read_folder(tmp_path)


def test_progress_and_memory_limit(tmp_path: Path, write_image: Write) -> None:
    for shot in range(300):
        write_image(tmp_path / "a" / f"{shot}.pgm", shot % 256, (2, 2))
    seen: list[tuple[int, int]] = []
    faces = read_folder(tmp_path, (2, 2), 1, progress=lambda *now: seen.append(now))
    assert seen == [(256, 300), (300, 300)]
    assert faces.images(range(300))[:, 0, 0, 0].tolist() == [shot % 256 for shot in range(300)]
    with pytest.raises(ValueError, match="lower image_size"):
        read_folder(tmp_path, (2, 2), 1, memory_limit=1199)


def test_missing_pillow_names_the_extra(
    tmp_path: Path, write_image: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a" / "1.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r'pip install "fairloss-ext\[train\]"'):
        read_folder(tmp_path)


def test_same_pixels_every_time(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for shot in range(20):
        (tmp_path / f"p{shot % 3}").mkdir(exist_ok=True)
        noise = generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"p{shot % 3}" / f"{shot}.jpg")
    first, second = (read_quietly(tmp_path, image_size=(32, 32)) for _ in range(2))
    assert first.names == second.names
    assert torch.equal(first.images(range(20)), second.images(range(20)))


def test_files_that_pillow_only_lists_are_no_images(tmp_path: Path, write_image: Write) -> None:
    write_image(tmp_path / "a" / "1.png", 0)
    (tmp_path / "features.h5").touch()
    (tmp_path / "a" / "clip.MPG").touch()
    with pytest.warns(UnreadableImage) as caught:
        assert len(read_folder(tmp_path, (4, 4))) == 1
    texts = [str(warning.message) for warning in caught]
    assert texts == ["1 files without an image suffix left out: 1 .mpg"]


def test_a_listing_refuses_dead_links_to_identities(tmp_path: Path, write_image: Write) -> None:
    write_image(tmp_path / "a" / "1.png", 0)
    (tmp_path / "b").symlink_to("b")
    with pytest.raises(ValueError, match="b: cannot be read: a link to a missing folder"):
        list_images(tmp_path)
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()
    with pytest.warns(UnreadableImage, match="1 identities without an image left out: b"):
        assert list_images(tmp_path) == ["a/1.png"]
