"""Labelled face images held in memory as one uint8 tensor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

MEMORY_LIMIT = 8 * 2**30
"""Bytes of decoded pixels a reader accepts by default: 8 GiB, about 228,000 images of 3x112x112."""

Indices = Tensor | Sequence[int] | npt.NDArray[np.int64]


class FaceImages(Dataset[tuple[Tensor, int]]):
    """A map-style dataset of face images with an identity each.

    Args:
        pixels: (N, channels, H, W) uint8.
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
        pixels: Tensor,
        labels: Indices,
        identities: Iterable[str],
        names: Iterable[str],
        *,
        mirror: bool = True,
    ) -> None:
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.identities = list(identities)
        self.names = list(names)
        self.mirror = mirror
        self.num_classes = len(self.identities)
        self._check(pixels)
        self._pixels = pixels
        self.channels = pixels.shape[1]
        self.image_size: tuple[int, int] = (pixels.shape[2], pixels.shape[3])
        self.counts = torch.bincount(self.labels, minlength=self.num_classes)
        if not bool(self.counts.all()):
            empty = self.identities[int(self.counts.argmin())]
            raise ValueError(f"identities: {empty!r} has no image; leave such identities out")

    def _check(self, pixels: Tensor) -> None:
        if pixels.dtype != torch.uint8 or pixels.dim() != 4:
            raise ValueError(
                "pixels must be uint8 of shape (N, channels, H, W), "
                f"got {pixels.dtype} of shape {tuple(pixels.shape)}"
            )
        count = pixels.shape[0]
        if self.labels.shape != (count,) or len(self.names) != count or count == 0:
            raise ValueError(
                "pixels, labels and names must have one entry for each of N >= 1 images, "
                f"got {count} images, labels of shape {tuple(self.labels.shape)} "
                f"and {len(self.names)} names"
            )
        if len(set(self.identities)) != self.num_classes:
            raise ValueError("identities must be distinct names")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= self.num_classes:
            raise ValueError(
                f"labels must lie in 0..{self.num_classes - 1}, "
                f"got {int(self.labels.min())}..{int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._pixels[index], int(self.labels[index])

    def __repr__(self) -> str:
        shape = "x".join(str(side) for side in self._pixels.shape[1:])
        return f"FaceImages({len(self)} images of {self.num_classes} identities, {shape})"

    def images(self, indices: Indices) -> Tensor:
        """The images at `indices` (n,), as uint8 (n, channels, H, W)."""
        return self._pixels[self._positions(indices)]

    def subset(self, indices: Indices) -> FaceImages:
        """The images at `indices` (n,), in that order.

        Identities left without images are dropped; the others keep their names and their order and
        are relabelled 0, 1, ... without gaps.

        Raises:
            ValueError: if `indices` is empty, not of integers, or outside 0..N-1.
        """
        positions = self._positions(indices)
        if not len(positions):
            raise ValueError("indices must name at least one image, got none")
        kept, labels = torch.unique(self.labels[positions], return_inverse=True)
        return FaceImages(
            self._pixels[positions],
            labels,
            [self.identities[label] for label in kept.tolist()],
            [self.names[position] for position in positions.tolist()],
            mirror=self.mirror,
        )

    def of_identities(self, identities: Iterable[str]) -> FaceImages:
        """All images of the named identities, in this dataset's order of images and identities.

        Raises:
            ValueError: if a name is unknown, or none is given.
        """
        chosen = set(identities)
        unknown = sorted(chosen.difference(self.identities))
        if unknown:
            raise ValueError(
                f"identities: {len(unknown)} unknown, the first {unknown[0]!r}; "
                f"known are {self.num_classes} names such as {self.identities[0]!r}"
            )
        wanted = torch.tensor([name in chosen for name in self.identities])
        return self.subset(wanted[self.labels].nonzero().flatten())

    def _positions(self, indices: Indices) -> Tensor:
        positions = torch.as_tensor(indices)
        if not positions.numel():
            return positions.flatten().long()
        # a boolean mask would otherwise be read as the indices 0 and 1
        if positions.dim() != 1 or positions.is_floating_point() or positions.dtype == torch.bool:
            raise ValueError(
                "indices must be a list of integers, "
                f"got {positions.dtype} of shape {tuple(positions.shape)}"
            )
        if int(positions.min()) < 0 or int(positions.max()) >= len(self):
            raise ValueError(
                f"indices must lie in 0..{len(self) - 1}, "
                f"got {int(positions.min())}..{int(positions.max())}"
            )
        return positions.long()


def allocate_pixels(
    count: int, channels: int, image_size: tuple[int, int], memory_limit: int = MEMORY_LIMIT
) -> Tensor:
    """Uninitialised uint8 (count, channels, H, W) for a reader to fill.

    Raises:
        ValueError: if `channels` is neither 1 nor 3, a side of `image_size` is below 1, or the
            pixels would need more than `memory_limit` bytes.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {channels!r}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ValueError(f"image_size must be (height, width), both >= 1, got {image_size!r}")
    height, width = image_size
    needed = count * channels * height * width
    if needed > memory_limit:
        raise ValueError(
            f"{count} images of {channels}x{height}x{width} need {needed / 2**30:.2f} GiB, over "
            f"memory_limit = {memory_limit / 2**30:.2f} GiB; lower image_size, or raise the limit"
        )
    return torch.empty((count, channels, height, width), dtype=torch.uint8)
