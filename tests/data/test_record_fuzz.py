"""Damaged RecordIO files and indices: an error that names the file, or images; nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from record_cases import IMAGES, MAGIC, content, face_set, jpeg, part, write

from fairloss.data import RecordImages

SIZE = (16, 16)
T = TypeVar("T")
SPLIT = part(content(1, b"") + jpeg(3), 1) + part(b"tail of", 2) + part(b"an image", 3)


def flip(data: bytearray, source: random.Random) -> None:
    for _ in range(source.choice((1, 1, 4, 32))):
        if data:
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)


def cut(data: bytearray, source: random.Random) -> None:
    start = source.randrange(len(data) + 1)
    del data[start : source.choice((len(data), start + source.randrange(64)))]


def insert(data: bytearray, source: random.Random) -> None:
    start = source.randrange(len(data) + 1)
    piece = source.choice((MAGIC, b"\0" * 4, b"\xff" * 4, source.randbytes(9), b"\n0\t0\n"))
    data[start:start] = piece


def swap(data: bytearray, source: random.Random) -> None:
    size = source.choice((1, 4, 32))
    first, second = (source.randrange(len(data) + 1) for _ in range(2))
    pieces = data[first : first + size], data[second : second + size]
    data[first : first + size], data[second : second + size] = pieces[1], pieces[0]


def overwrite(data: bytearray, source: random.Random) -> None:
    """Write an extreme number over a word, where lengths and flags are."""
    start = source.randrange(0, len(data) + 1, 4)
    number = source.choice((0, 1, 24, 2**29 - 1, 2**29, 2**31, 2**32 - 1, 3 << 29 | 8))
    data[start : start + 4] = number.to_bytes(4, "little")


CHANGES = (flip, cut, insert, swap, overwrite)


def campaign(folder: Path, seeds: range) -> dict[str, int]:
    """Read damaged copies of a face set and of a file with a split record; count the outcomes."""
    originals = {
        "faces": write(folder / "faces.rec", face_set(IMAGES)),
        "split": write(folder / "split.rec", [part(content(0, jpeg(1))), SPLIT, SPLIT]),
    }
    files = {
        name: (path.read_bytes(), path.with_suffix(".idx").read_bytes())
        for name, path in originals.items()
    }
    outcomes = dict.fromkeys(("read", "image", "file"), 0)
    for seed in seeds:
        source = random.Random(seed)
        name = source.choice(sorted(files))
        parts = [bytearray(data) for data in files[name]]
        target = source.choice(("rec", "idx", "rec alone"))
        for _ in range(source.choice((1, 1, 2, 5))):
            source.choice(CHANGES)(parts[target == "idx"], source)
        path = folder / f"{seed}.rec"
        path.write_bytes(parts[0])
        if target != "rec alone":
            path.with_suffix(".idx").write_bytes(parts[1])
        outcomes[outcome(path)] += 1
        path.unlink()
        path.with_suffix(".idx").unlink(missing_ok=True)
    return outcomes


def outcome(path: Path) -> str:
    """Return "read", or whether an image or the file is refused; its error must name the file."""
    images = refusal_or(path, lambda: RecordImages(path, SIZE))
    if images is None:
        return "file"
    pixels = [
        refusal_or(path, lambda index=index: images[index][0]) for index in range(len(images))
    ]
    assert all(image is None or image.shape == (3, *SIZE) for image in pixels)
    return "image" if any(image is None for image in pixels) else "read"


def refusal_or(path: Path, read: Callable[[], T]) -> T | None:
    """Return what is read, or None for an error that names the file."""
    try:
        return read()
    except ValueError as error:
        message = str(error)
    assert str(path.with_suffix("")) in message, message
    return None


@pytest.mark.filterwarnings("ignore::Warning:PIL")
def test_damaged_files_are_read_or_refused_by_name(tmp_path):
    outcomes = campaign(tmp_path, range(250))
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:PIL")
def test_ten_thousand_damaged_files_are_read_or_refused_by_name(tmp_path):
    outcomes = campaign(tmp_path, range(10_000, 20_000))
    assert min(outcomes.values()) > 400, outcomes
