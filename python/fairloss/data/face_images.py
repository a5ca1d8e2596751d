"""Labeled face images in one uint8 tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from fairloss.checks import check_choice, expect
from fairloss.data.labeled_images import Indices, LabeledImages
from fairloss.io.mapped import MappedArray, check_unchanged

MEMORY_LIMIT = 8 * 2**30
"""Bytes of decoded pixels a reader accepts by default: 8 GiB, about 228,000 images of 3x112x112."""


class FaceImages(LabeledImages):
    """Labeled images whose pixels are in memory, or mapped from a file.

    Args:
        pixels: (N, channels, H, W) uint8; an array that is mapped from a file stays there, also
            in copies and in other processes.
        labels: (N,) integer labels, each a position in `identities`.
        identities: the C distinct class names; every one has at least one image.
        names: N image names of the form "identity/file".
        mirror: whether a mirrored image still shows its identity; so it is for faces.

    Raises:
        ValueError: if the arguments do not fit each other.
    """

    in_memory = True

    def __init__(
        self,
        pixels: Tensor | MappedArray,
        labels: Indices,
        identities: Iterable[str],
        names: Iterable[str],
        *,
        mirror: bool = True,
    ) -> None:
        self._mapped = None if isinstance(pixels, Tensor) else pixels
        self._pixels = pixels = torch.as_tensor(pixels)
        valid = pixels.dtype == torch.uint8 and pixels.dim() == 4
        got = f"{pixels.dtype} of shape {tuple(pixels.shape)}"
        expect(valid, "pixels", "uint8 (N, channels, H, W)", got)
        count, channels, height, width = pixels.shape
        super().__init__(
            labels,
            identities,
            list(names),
            count=count,
            channels=channels,
            image_size=(height, width),
            mirror=mirror,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return all, but of pixels that are mapped from a file the map alone."""
        return vars(self) if self._mapped is None else vars(self) | {"_pixels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._mapped is not None:
            self._pixels = torch.as_tensor(self._mapped)

    def version(self) -> bytes:
        """Return what changes when the file of mapped images is written."""
        return b"" if self._mapped is None else repr(self._mapped.version).encode()

    def image(self, index: int) -> Tensor:
        """Return one image, in the memory of the set."""
        self._check_file()
        return self._pixels[index]

    def _read(self, positions: Tensor) -> Tensor:
        self._check_file()
        return self._pixels[positions]

    def _select(self, positions: Tensor, labels: Tensor, identities: list[str]) -> Self:
        names = [self.names[position] for position in positions.tolist()]
        return type(self)(self._read(positions), labels, identities, names, mirror=self.mirror)

    def _check_file(self) -> None:
        """Raise FormatError if pixels are mapped from a file that is not the same any more.

        To read behind the end of a file that was cut off would end the process.
        """
        if self._mapped is not None and self._mapped.version is not None:
            check_unchanged(self._mapped)


def allocate_pixels(
    count: int, channels: int, image_size: tuple[int, int], memory_limit: int = MEMORY_LIMIT
) -> Tensor:
    """Return an uninitialized uint8 (count, channels, H, W) tensor for a reader to fill.

    Raises:
        ValueError: as `check_pixels`.
    """
    check_pixels(count, channels, image_size, memory_limit)
    return torch.empty((count, channels, *image_size), dtype=torch.uint8)


def check_pixels(
    count: int, channels: int, image_size: tuple[int, int], memory_limit: int = MEMORY_LIMIT
) -> int:
    """Return `pixel_bytes`.

    Raises:
        ValueError: as `pixel_bytes`, or if they are more than `memory_limit`.
    """
    needed = pixel_bytes(count, channels, image_size)
    images = f"{count} images of {channels}x{image_size[0]}x{image_size[1]}"
    limit = f"{memory_limit / 2**30:.2f} GiB; lower image_size, or raise the limit"
    expect(needed <= memory_limit, "memory_limit", f"{needed / 2**30:.2f} GiB for {images}", limit)
    return needed


def pixel_bytes(count: int, channels: int, image_size: tuple[int, int]) -> int:
    """Return the bytes of uint8 (count, channels, H, W) pixels.

    Raises:
        ValueError: if `channels` is neither 1 nor 3, or a side of `image_size` is below 1.
    """
    check_choice("channels", channels, (1, 3))
    valid = len(image_size) == 2 and min(image_size) >= 1
    expect(valid, "image_size", "(height, width), both >= 1", image_size)
    height, width = image_size
    return count * channels * height * width
