"""insightface's `.bin` verification sets: a pickle (encoded images, same-identity flags)."""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import check_length
from fairloss.data.npy import is_flat
from fairloss.data.restricted_pickle import load_plain
from fairloss.data.text_files import StrPath, check_format
from fairloss.io.atomic import FormatError, write_atomic
from fairloss.typing import Bools, Ints


@dataclass(frozen=True, eq=False)
class PairBin:
    """P pairs of encoded images.

    Attributes:
        images: 2P encoded files (JPEG), a0, b0, a1, b1, ...
        genuine: (P,) bool.
    """

    images: list[bytes]
    genuine: Bools

    def image_numbers(self) -> Ints:
        """Return (2P,) numbers, equal if the bytes are: lists use an image in several pairs."""
        digests = [hashlib.sha256(image).hexdigest() for image in self.images]
        return np.unique(digests, return_inverse=True)[1].astype(np.int64)


def read_pair_bin(path: StrPath) -> PairBin:
    """Read a `.bin` without running anything in it; files of Python 2 and 3.

    Raises:
        FormatError: the file is refused (see `load_plain`), or does not hold two images for each
            flag.
    """
    content = load_plain(path)
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise FormatError(path, "expected a pair (images, same-identity flags)")
    images, flags = content
    if not isinstance(images, list | tuple) or not isinstance(flags, list | tuple | np.ndarray):
        raise FormatError(
            path,
            "expected a list of images and a list of same-identity flags, got "
            f"{_describe(images)} and {_describe(flags)}",
        )
    if isinstance(flags, np.ndarray):
        got = _describe(flags)
        check_format(is_flat(flags), path, f"flags: expected one for each pair, got {got}")
        flags = flags.ravel()
    count = len(images)
    valid = len(flags) and count == 2 * len(flags)
    check_format(valid, path, f"expected 2 images for each pair, got {count} for {len(flags)}")
    genuine = [_flag(path, number, flag) for number, flag in enumerate(flags)]
    encoded = [_encoded(path, number, image) for number, image in enumerate(images)]
    return PairBin(encoded, np.array(genuine, dtype=np.bool_))


def write_pair_bin(path: StrPath, images: Sequence[bytes], genuine: Sequence[bool]) -> None:
    """Write a `.bin` that insightface's tools read: 2P encoded images and P flags."""
    check_length("images", len(images), 2 * len(genuine), "images, two for each pair")
    content = pickle.dumps((list(images), [bool(flag) for flag in genuine]), protocol=4)
    write_atomic(Path(path), lambda temporary: temporary.write_bytes(content))


def _encoded(path: StrPath, number: int, image: Any) -> bytes:
    """Return the bytes of an image; OpenCV encodes to (N,), (N, 1) or (1, N), by its version."""
    content = image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and is_flat(image):
        content = image.tobytes()
    if not isinstance(content, bytes) or not content:
        expected = "bytes, or uint8 with one dimension longer than 1"
        got = _describe(image)
        raise FormatError(
            path, f"image {number} is not an encoded file: expected {expected}, got {got}"
        )
    return content


def _flag(path: StrPath, number: int, flag: Any) -> bool:
    valid = isinstance(flag, int | float | np.generic) and flag in (0, 1)
    got = _describe(flag)
    check_format(valid, path, f"flag {number} is neither True nor False: got {got}")
    return bool(flag)


def _describe(value: Any) -> str:
    """Return the type of a value; of an array its type and shape, of a number the number."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, int) and value.bit_length() > 64:  # Python writes no endless digits
        return f"{name} of {value.bit_length()} bits"
    if isinstance(value, int | float | np.generic):
        return f"{name} {value}"
    return f"{name} of length {len(value)}"
