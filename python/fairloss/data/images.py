"""Reading named images in batches, so that a set need not fit in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fairloss.data.align import align_face
from fairloss.data.arrays import holds_arrays, read_arrays
from fairloss.data.decode import as_pixels, decode_image, pillow
from fairloss.data.folder import MAX_THREADS
from fairloss.io.atomic import FormatError

BATCH = 256


def image_batches(
    root: str | os.PathLike[str],
    names: Sequence[str],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int = BATCH,
    points: npt.NDArray[np.floating[Any]] | None = None,
) -> Iterator[Tensor]:
    """Yield uint8 (B, channels, H, W) batches of `root/name`, in order.

    `root` may be a folder of arrays too, which are read through a memory map. A missing or
    unreadable image is an error: leaving one out would shift every row after it.

    Args:
        points: (N, 5, 2) landmarks to align each image by (`align_face`), before it is resized;
            of files only.

    Raises:
        FormatError: naming the image.
        ValueError: as `read_arrays`.
    """
    if holds_arrays(root):
        if points is not None:
            raise ValueError(f"landmarks: {root} holds arrays, only image files can be aligned")
        yield from _array_batches(root, names, image_size, channels, batch_size)
        return
    files = [Path(root) / name for name in names]
    readers = [
        partial(_read, file, None if points is None else points[row])
        for row, file in enumerate(files)
    ]
    yield from _batches(readers, image_size, channels, batch_size)


def encoded_batches(
    path: str | os.PathLike[str],
    images: Sequence[bytes],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int = BATCH,
) -> Iterator[Tensor]:
    """`image_batches` of encoded images from the file at `path`, which errors name."""
    readers = [partial(_encoded, path, number, image) for number, image in enumerate(images)]
    yield from _batches(readers, image_size, channels, batch_size)


def _array_batches(
    root: str | os.PathLike[str],
    names: Sequence[str],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int,
) -> Iterator[Tensor]:
    faces = read_arrays(root, image_size, channels)
    place = {name: row for row, name in enumerate(faces.names)}
    unknown = [name for name in names if name not in place]
    if unknown:
        raise FormatError(root, f"holds no image {unknown[0]!r}; one is {faces.names[0]!r}")
    if len(place) < len(faces):
        raise FormatError(root, "two images have one name, identity/variant")
    for start in range(0, len(names), batch_size):
        yield faces.images([place[name] for name in names[start : start + batch_size]])


def _batches(
    readers: Sequence[partial[Tensor]], image_size: tuple[int, int], channels: int, batch_size: int
) -> Iterator[Tensor]:
    pillow()
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(readers), batch_size):
            part = readers[start : start + batch_size]
            yield torch.stack(list(pool.map(lambda read: read(image_size, channels), part)))


def open_aligned(file: Path, points: npt.NDArray[np.floating[Any]]) -> Any:
    """`align_face` of an image file; FormatError if it or its points are unusable."""
    try:
        with pillow().open(file) as opened:
            # the landmarks are those of the stored pixels: the orientation is not applied
            return align_face(opened, points)
    except Exception as error:
        raise FormatError(file, f"cannot be aligned: {error}") from error


def _read(
    file: Path,
    points: npt.NDArray[np.floating[Any]] | None,
    image_size: tuple[int, int],
    channels: int,
) -> Tensor:
    if points is not None:
        return as_pixels(open_aligned(file, points), image_size, channels)
    try:
        return decode_image(file, image_size, channels)
    except Exception as error:  # Pillow raises any kind on a malformed file
        raise FormatError(file, f"cannot be read as an image: {error}") from error


def _encoded(
    path: str | os.PathLike[str],
    number: int,
    image: bytes,
    image_size: tuple[int, int],
    channels: int,
) -> Tensor:
    try:
        return decode_image(BytesIO(image), image_size, channels)
    except Exception as error:
        raise FormatError(path, f"image {number} cannot be read: {error}") from error
