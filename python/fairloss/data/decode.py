"""Decoding images with Pillow and simplejpeg, which are imported when an image is read."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from fairloss.typing import Bytes

# Images decoded at a time: enough to occupy the threads, few enough that decoded images waiting to
# be copied stay small (256 images of 3x112x112 are 10 MB).
BATCH = 256
# Pillow releases the interpreter lock while it decodes; more threads than this wait for one another
MAX_THREADS = 8

_Image = TypeVar("_Image")  # decoded, or in another form


class UnreadableImage(UserWarning):
    """Some image files, or all those of an identity, could not be used and were left out."""


def pillow() -> ModuleType:
    """Return `PIL.Image`, with the plugins of all formats loaded.

    Raises:
        ImportError: naming the extra to install, if Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'reading images needs Pillow: pip install "fairloss-ext[train]"'
        ) from error
    # Image.open loads the plugins on demand: a data race when several threads open a file.
    Image.init()
    return Image


def decode_image(source: Path | BinaryIO, image_size: tuple[int, int], channels: int) -> Tensor:
    """Return one image file as uint8 (channels, H, W).

    The EXIF orientation is applied; the largest centered part with the aspect ratio of `image_size`
    (H, W) is then resized to it (bicubic), which leaves an image of that very size untouched.
    16-bit gray keeps its high byte. `channels` is 1 (gray, ITU-R 601 luma) or 3 (RGB).

    Raises:
        Exception: any that Pillow raises on a malformed file; not only OSError.
    """
    from PIL import Image, ImageOps

    with Image.open(source) as image:
        return as_pixels(ImageOps.exif_transpose(image), image_size, channels)


class EncodedImage(BytesIO):
    """An encoded image in memory, with a name for Pillow's errors."""

    def __init__(self, data: bytes, name: str | None = None) -> None:
        super().__init__(data)
        self._name = f"of {len(data)} bytes" if name is None else repr(name)

    def __repr__(self) -> str:
        return self._name


def jpeg_decoder() -> str:
    """Return the decoder that `decode_bytes` takes for JPEG here: "simplejpeg", else "pillow"."""
    return "pillow" if find_spec("simplejpeg") is None else "simplejpeg"


def decode_bytes(
    data: bytes, image_size: tuple[int, int], channels: int, decoder: str = "pillow"
) -> Tensor:
    """Return `decode_image` of an encoded image.

    With the decoder "simplejpeg" a JPEG in color of that very size, without EXIF or XMP data, is
    decoded by simplejpeg, which is faster; all else by Pillow.

    Raises:
        Exception: as `decode_image`.
    """
    pixels = _decode_jpeg(data, image_size) if decoder == "simplejpeg" and channels == 3 else None
    if pixels is None:
        return decode_image(EncodedImage(data), image_size, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)  # torch.stack copies it in any case


def _decode_jpeg(data: bytes, image_size: tuple[int, int]) -> Bytes | None:
    """Return (H, W, 3) pixels, or None for what Pillow is to decode or to refuse."""
    import simplejpeg

    if not data.startswith(b"\xff\xd8") or _may_be_turned(data):
        return None
    with suppress(ValueError):  # also for damage that Pillow corrects
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width) == image_size and colors == "YCbCr":
            return cast(Bytes, simplejpeg.decode_jpeg(data, "RGB"))
    return None


def _may_be_turned(jpeg: bytes) -> bool:
    """Return False for a JPEG without a segment that may hold EXIF or XMP data."""
    start_of_scan, app1 = 0xDA, 0xE1
    position = 2
    while position + 4 <= len(jpeg) and jpeg[position] == 0xFF:
        marker = jpeg[position + 1]
        if marker in (start_of_scan, app1):
            return marker == app1
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
    return True  # damaged, or with fill bytes between segments


def as_pixels(image: Any, image_size: tuple[int, int], channels: int) -> Tensor:
    """Return `decode_image` of an open Pillow image, whose orientation is taken as it is."""
    from PIL import Image, ImageOps

    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255 instead of scaling them
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = image_size
    pixels = torch.from_numpy(np.array(ImageOps.fit(image, (width, height))))
    return pixels.view(height, width, channels).permute(2, 0, 1)


def decode_batches(
    readers: Sequence[Callable[[], _Image]], batch_size: int = BATCH
) -> Iterator[list[_Image | Exception]]:
    """Call the readers in threads; yield their images in order, a list for each batch.

    An image that cannot be decoded is replaced by its error, which the caller raises or skips.
    """
    pillow()
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(readers), batch_size):
            yield list(pool.map(_image_or_error, readers[start : start + batch_size]))


def _image_or_error(read: Callable[[], _Image]) -> _Image | Exception:
    # Malformed files raise OSError, ValueError, SyntaxError, struct.error and more, depending on
    # the format.
    try:
        return read()
    except Exception as error:
        return error


def warn_left_out(
    what: str, left_out: Sequence[str], count: int | None = None, shown: int = 5
) -> None:
    """Warn once (`UnreadableImage`) with a count and the first names, unless there are none.

    The warning is reported at the caller of the function that calls this one.

    Args:
        what: was left out.
        left_out: its names.
        count: that the warning begins with, of all names by default.
        shown: most names in the warning.
    """
    if left_out:
        count = len(left_out) if count is None else count
        listed = first_names(left_out, shown)
        warnings.warn(f"{count} {what}: {listed}", UnreadableImage, stacklevel=3)


def first_names(names: Sequence[str], shown: int = 5) -> str:
    """Return the first names of a list, as text."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")
