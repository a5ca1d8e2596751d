"""`.bin` files as other scripts write them, and what is said of the wrong ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from fairloss.data import read_pair_bin
from fairloss.io.atomic import FormatError

IMAGES = [b"\xff\xd8" + bytes([n]) * (n + 1) for n in range(6)]
FLAGS = [True, False, True]


def dump(folder: Path, value: object, protocol: int = 4) -> Path:
    path = folder / "x.bin"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def flat(image: bytes) -> np.ndarray:
    return np.frombuffer(image, np.uint8)


AS_IMAGES = {
    "rows": lambda image: flat(image).reshape(1, -1),
    "rows in the order of Fortran": lambda image: np.asfortranarray(flat(image).reshape(1, -1)),
    "three dimensions": lambda image: flat(image).reshape(1, -1, 1),
    "every other byte of an array": lambda image: np.repeat(flat(image), 2)[::2],
    "a column of a matrix": lambda image: np.stack([flat(image)] * 2, axis=1)[:, :1],
    "bytearrays": bytearray,
}


@pytest.mark.parametrize("kind", AS_IMAGES)
def test_every_form_of_an_encoded_file_is_read(tmp_path, kind):
    images = [AS_IMAGES[kind](image) for image in IMAGES]
    result = read_pair_bin(dump(tmp_path, (images, FLAGS)))
    assert result.images == IMAGES
    assert result.genuine.tolist() == FLAGS


@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_bytearrays_of_every_protocol_are_read(tmp_path, protocol):
    images = [bytearray(image) for image in IMAGES]
    assert read_pair_bin(dump(tmp_path, (images, FLAGS), protocol)).images == IMAGES


def test_forms_may_differ_within_a_file(tmp_path):
    images = [form(image) for form, image in zip(AS_IMAGES.values(), IMAGES, strict=True)]
    result = read_pair_bin(dump(tmp_path, (tuple(images), tuple(FLAGS))))
    assert result.images == IMAGES
    assert len(set(result.image_numbers().tolist())) == 6


AS_FLAGS = {
    "uint8": np.array(FLAGS, np.uint8),
    "int64": np.array(FLAGS, np.int64),
    "float32": np.array(FLAGS, np.float32),
    "big-endian": np.array(FLAGS, ">i2"),
    "floats": [1.0, 0.0, 1.0],
    "scalars": [np.float64(1), np.uint8(0), np.bool_(True)],
    "a column": np.array(FLAGS)[:, None],
    "a column of integers": np.array(FLAGS, np.int32)[:, None],
    "a row": np.array(FLAGS, np.int64)[None],
    "a tuple": (1, 0, True),
}


@pytest.mark.parametrize("kind", AS_FLAGS)
def test_every_form_of_the_flags_is_read(tmp_path, kind):
    result = read_pair_bin(dump(tmp_path, [IMAGES, AS_FLAGS[kind]], 2))
    assert result.genuine.dtype == np.bool_
    assert result.genuine.shape == (3,)
    assert result.genuine.tolist() == FLAGS
    assert result.images == IMAGES


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((8, 8, 3), np.uint8), ["(8, 8, 3)", "uint8"]),
        (np.zeros(20, np.float32), ["(20,)", "float32"]),
        (np.zeros(20, np.int8), ["(20,)", "int8"]),
        (np.zeros((20, 1), np.int64), ["(20, 1)", "int64"]),
        (np.zeros((1, 0), np.uint8), ["(1, 0)", "uint8"]),
        (np.uint8(255), ["uint8"]),
        ("faces/a/1.jpg", ["str"]),
        (None, ["None"]),
        ([255, 216], ["list"]),
        (b"", []),
    ],
)
def test_what_is_no_encoded_file_is_described(tmp_path, image, said):
    path = dump(tmp_path, ([*IMAGES[:4], image, IMAGES[5]], FLAGS))
    with pytest.raises(FormatError, match="image 4") as caught:
        read_pair_bin(path)
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([True, 0.5, False], ["flag 1", "float"]),
        ([True, False, -1], ["flag 2", "int"]),
        ([True, "same", False], ["flag 1", "str"]),
        ([True, None, False], ["flag 1", "None"]),
        (np.array([1, 0, np.nan]), ["float64"]),
        (np.array([1, 255, 0], np.uint8), ["uint8"]),
        (np.zeros((3, 2), np.int64), ["(3, 2)", "int64"]),
        (np.zeros((1, 3, 2), np.bool_), ["(1, 3, 2)", "bool"]),
    ],
)
def test_what_is_no_flag_is_described(tmp_path, flags, said):
    with pytest.raises(FormatError, match="x.bin: ") as caught:
        read_pair_bin(dump(tmp_path, (IMAGES, flags)))
    for part in said:
        assert part in str(caught.value)


def test_an_array_of_objects_is_refused_by_type(tmp_path):
    images = np.empty(6, object)
    images[:] = IMAGES
    with pytest.raises(FormatError, match="object array"):
        read_pair_bin(dump(tmp_path, (images, FLAGS)))
