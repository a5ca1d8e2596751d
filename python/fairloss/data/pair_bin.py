"""insightface's `.bin` verification sets: a pickle (encoded images, same-person flags)."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.data.plain_pickle import load_plain
from fairloss.io.atomic import FormatError, write_atomic


@dataclass(frozen=True, eq=False)
class PairBin:
    """P pairs of encoded images.

    Attributes:
        images: 2P encoded files (JPEG), a0, b0, a1, b1, ...
        genuine: (P,) bool.
    """

    images: list[bytes]
    genuine: npt.NDArray[np.bool_]

    def image_numbers(self) -> npt.NDArray[np.int64]:
        """(2P,) equal numbers where the bytes are equal: lists use an image in several pairs."""
        digests = [hashlib.sha256(image).hexdigest() for image in self.images]
        return np.unique(digests, return_inverse=True)[1].astype(np.int64)


def read_pair_bin(path: str | os.PathLike[str]) -> PairBin:
    """Read a `.bin` without running anything in it; files of Python 2 and 3.

    Raises:
        FormatError: the file is refused (see `load_plain`), or does not hold two images for each
            flag.
    """
    content = load_plain(path)
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise FormatError(path, "expected a pair (images, same-person flags)")
    images, flags = content
    if not isinstance(images, list | tuple) or not isinstance(flags, list | tuple | np.ndarray):
        raise FormatError(path, "expected a list of images and a list of same-person flags")
    flags = list(flags)
    if not flags or len(images) != 2 * len(flags):
        raise FormatError(
            path, f"expected 2 images for each pair, got {len(images)} for {len(flags)}"
        )
    for number, flag in enumerate(flags):
        if not isinstance(flag, bool | int | np.bool_ | np.integer) or flag not in (0, 1):
            raise FormatError(path, f"flag {number} is neither True nor False")
    encoded = [_encoded(path, number, image) for number, image in enumerate(images)]
    return PairBin(encoded, np.array(flags, dtype=np.bool_))


def write_pair_bin(
    path: str | os.PathLike[str], images: Sequence[bytes], genuine: Sequence[bool]
) -> None:
    """Write a `.bin` that insightface's tools read: 2P encoded images and P flags."""
    if len(images) != 2 * len(genuine):
        raise ValueError(f"images must be 2 for each of {len(genuine)} pairs, got {len(images)}")
    content = pickle.dumps((list(images), [bool(flag) for flag in genuine]), protocol=4)
    write_atomic(Path(path), lambda temporary: temporary.write_bytes(content))


def _encoded(path: str | os.PathLike[str], number: int, image: Any) -> bytes:
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 1:
        image = image.tobytes()
    if not isinstance(image, bytes) or not image:
        raise FormatError(path, f"image {number} is not an encoded file")
    return image
