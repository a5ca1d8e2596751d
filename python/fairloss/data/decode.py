"""Decoding one image file with Pillow, which is imported only when an image is read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor


class UnreadableImage(UserWarning):
    """Some image files, or all those of an identity, could not be used and were left out."""


def pillow() -> ModuleType:
    """`PIL.Image`, with every format's plugin loaded.

    Raises:
        ImportError: naming the extra to install, if Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'reading images needs Pillow: pip install "fairloss-ext[train]"'
        ) from error
    # Image.open loads the plugins on demand, which races when several threads open their first file
    Image.init()
    return Image


def decode_image(source: Path | BinaryIO, image_size: tuple[int, int], channels: int) -> Tensor:
    """One image file as uint8 (channels, H, W).

    The EXIF orientation is applied; the largest centred part with the aspect ratio of `image_size`
    (H, W) is then resized to it (bicubic), which leaves an image of that very size untouched.
    16-bit grey keeps its high byte. `channels` is 1 (grey, ITU-R 601 luma) or 3 (RGB).

    Raises:
        Exception: whatever Pillow raises on a malformed file; not only OSError.
    """
    from PIL import Image, ImageOps

    with Image.open(source) as opened:
        return as_pixels(ImageOps.exif_transpose(opened), image_size, channels)


def as_pixels(image: Any, image_size: tuple[int, int], channels: int) -> Tensor:
    """`decode_image` of an opened Pillow image, whose orientation is taken as it is."""
    from PIL import Image, ImageOps

    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = image_size
    pixels = torch.from_numpy(np.array(ImageOps.fit(image, (width, height))))
    return pixels.view(height, width, channels).permute(2, 0, 1)


def warn_left_out(what: str, left_out: Sequence[str], shown: int = 5) -> None:
    """One `UnreadableImage` warning with the count and the first names, or none if there are none.

    It is reported at the caller of the function that calls this one.
    """
    if left_out:
        listed = ", ".join(left_out[:shown]) + (", ..." if len(left_out) > shown else "")
        warnings.warn(f"{len(left_out)} {what}: {listed}", UnreadableImage, stacklevel=3)
