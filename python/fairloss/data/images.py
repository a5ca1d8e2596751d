"""Reading named images in batches, so that a set need not fit in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from fairloss.data.decode import decode_image, pillow
from fairloss.data.folder import MAX_THREADS
from fairloss.files import FormatError

BATCH = 256


def image_batches(
    root: str | os.PathLike[str],
    names: Sequence[str],
    image_size: tuple[int, int],
    channels: int,
    batch_size: int = BATCH,
) -> Iterator[Tensor]:
    """Yield uint8 (B, channels, H, W) batches of `root/name`, in order.

    A missing or unreadable image is an error: leaving one out would shift every row after it.

    Raises:
        FormatError: naming the image.
    """
    files = [Path(root) / name for name in names]
    yield from _batches([partial(_read, file) for file in files], image_size, channels, batch_size)


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


def _batches(
    readers: Sequence[partial[Tensor]], image_size: tuple[int, int], channels: int, batch_size: int
) -> Iterator[Tensor]:
    pillow()
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(readers), batch_size):
            part = readers[start : start + batch_size]
            yield torch.stack(list(pool.map(lambda read: read(image_size, channels), part)))


def _read(file: Path, image_size: tuple[int, int], channels: int) -> Tensor:
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
