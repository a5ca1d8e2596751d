"""Labeled face images in one uint8 tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fairloss.checks import check_choice, expect
from fairloss.io.mapped import MappedArray, check_unchanged
from fairloss.typing import Ints

MEMORY_LIMIT = 8 * 2**30
"""Bytes of decoded pixels a reader accepts by default: 8 GiB, about 228,000 images of 3x112x112."""

Indices = Tensor | Sequence[int] | Ints


class FaceImages(Dataset[tuple[Tensor, int]]):
    """A map-style dataset of face images with an identity each.

    Args:
        pixels: (N, channels, H, W) uint8; an array that is mapped from a file stays there, also
            in copies and in other processes.
        labels: (N,) integer labels, each a position in `identities`.
        identities: the C distinct class names; every one has at least one image.
        names: N image names of the form "identity/file".
        mirror: whether a mirrored image still shows its identity; so it is for faces.

    Attributes:
        labels: (N,) int64.
        identities: list of C names, the name of label c at position c.
        names: list of N names.
        mirror: as given; without it images are mirrored neither in training nor in evaluation.
        num_classes: C.
        counts: (C,) int64, images per identity.
        channels, image_size: the shape of one image, `image_size` being (H, W).

    Raises:
        ValueError: if the arguments do not fit each other.
    """

    def __init__(
        self,
        pixels: Tensor | MappedArray,
        labels: Indices,
        identities: Iterable[str],
        names: Iterable[str],
        *,
        mirror: bool = True,
    ) -> None:
        self.labels = _integers("labels", labels)
        self.identities = list(identities)
        self.names = list(names)
        self.mirror = mirror
        self.num_classes = len(self.identities)
        self._mapped = None if isinstance(pixels, Tensor) else pixels
        self._pixels = pixels = torch.as_tensor(pixels)
        self._check(pixels)
        self.channels = pixels.shape[1]
        self.image_size: tuple[int, int] = (pixels.shape[2], pixels.shape[3])
        self.counts = torch.bincount(self.labels, minlength=self.num_classes)
        empty = self.identities[int(self.counts.argmin())]
        expect(self.counts.all(), "identities", "an image of each", f"none of {empty!r}")

    def _check(self, pixels: Tensor) -> None:
        shape = tuple(pixels.shape)
        valid = pixels.dtype == torch.uint8 and pixels.dim() == 4
        expect(valid, "pixels", "uint8 (N, channels, H, W)", f"{pixels.dtype} of shape {shape}")
        count, labels = pixels.shape[0], tuple(self.labels.shape)
        expect(
            count >= 1 and labels == (count,) and len(self.names) == count,
            "pixels, labels and names",
            "one entry for each of N >= 1 images",
            f"{count} images, labels of shape {labels} and {len(self.names)} names",
        )
        distinct = len(set(self.identities))
        expect(distinct == self.num_classes, "identities", "distinct names", "one name twice")
        low, high = int(self.labels.min()), int(self.labels.max())
        valid = low >= 0 and high < self.num_classes
        expect(valid, "labels", f"0..{self.num_classes - 1}", f"{low}..{high}")

    def __getstate__(self) -> dict[str, Any]:
        """Return all, but of pixels that are mapped from a file the map alone."""
        return vars(self) if self._mapped is None else vars(self) | {"_pixels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._mapped is not None:
            self._pixels = torch.as_tensor(self._mapped)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self._check_file()
        return self._pixels[index], int(self.labels[index])

    def __repr__(self) -> str:
        shape = "x".join(str(side) for side in self._pixels.shape[1:])
        return f"FaceImages({len(self)} images of {self.num_classes} identities, {shape})"

    def images(self, indices: Indices) -> Tensor:
        """Return the images at `indices` (n,), as uint8 (n, channels, H, W).

        Raises:
            FormatError: the file of mapped images was changed or replaced.
        """
        return self._read(self._positions(indices))

    def subset(self, indices: Indices) -> FaceImages:
        """Return the images at `indices` (n,), in that order.

        Identities left without images are dropped; the others keep their names and their order and
        are relabeled 0, 1, ... without gaps.

        Raises:
            ValueError: if `indices` is empty, not of integers, or outside 0..N-1.
        """
        positions = self._positions(indices)
        expect(len(positions), "indices", "at least one image", "none")
        remaining, labels = torch.unique(self.labels[positions], return_inverse=True)
        return FaceImages(
            self._read(positions),
            labels,
            [self.identities[label] for label in remaining.tolist()],
            [self.names[position] for position in positions.tolist()],
            mirror=self.mirror,
        )

    def of_identities(self, identities: Iterable[str]) -> FaceImages:
        """Return all images of the named identities, in this dataset's order.

        Raises:
            ValueError: if a name is unknown, or none is given.
        """
        names = set(identities)
        unknown = sorted(names.difference(self.identities))
        expected = f"names such as {self.identities[0]!r}"
        got = f"{len(unknown)} unknown, the first {next(iter(unknown), None)!r}"
        expect(not unknown, "identities", expected, got)
        selected = torch.tensor([name in names for name in self.identities])
        return self.subset(selected[self.labels].nonzero().flatten())

    def _read(self, positions: Tensor) -> Tensor:
        self._check_file()
        return self._pixels[positions]

    def _check_file(self) -> None:
        """Raise FormatError if pixels are mapped from a file that is not the same any more.

        To read behind the end of a file that was cut off would end the process.
        """
        if self._mapped is not None and self._mapped.version is not None:
            check_unchanged(self._mapped)

    def _positions(self, indices: Indices) -> Tensor:
        positions = _integers("indices", indices)
        if not positions.numel():
            return positions.flatten()
        got = f"shape {tuple(positions.shape)}"
        expect(positions.dim() == 1, "indices", "a list of integers", got)
        low, high = int(positions.min()), int(positions.max())
        expect(low >= 0 and high < len(self), "indices", f"0..{len(self) - 1}", f"{low}..{high}")
        return positions


def _integers(name: str, values: Indices) -> Tensor:
    """Return int64; of any integer type and byte order, unlike `torch.as_tensor`."""
    array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    # floats would be cut, and a boolean mask would be read as the positions 0 and 1
    integers = array.dtype.kind in "iu" or not array.size
    got = f"{getattr(values, 'dtype', array.dtype)} of shape {array.shape}"
    expect(integers, name, "a list of integers", got)
    return torch.from_numpy(array.astype(np.int64))


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
    """Return the bytes of uint8 (count, channels, H, W) pixels.

    Raises:
        ValueError: if `channels` is neither 1 nor 3, a side of `image_size` is below 1, or the
            pixels would need more than `memory_limit` bytes.
    """
    check_choice("channels", channels, (1, 3))
    valid = len(image_size) == 2 and min(image_size) >= 1
    expect(valid, "image_size", "(height, width), both >= 1", image_size)
    height, width = image_size
    needed = count * channels * height * width
    images = f"{count} images of {channels}x{height}x{width}"
    limit = f"{memory_limit / 2**30:.2f} GiB; lower image_size, or raise the limit"
    expect(needed <= memory_limit, "memory_limit", f"{needed / 2**30:.2f} GiB for {images}", limit)
    return needed
