"""The data sets of labeled images that training and evaluation take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Self

from fairloss.checks import expect
from fairloss.typing import Ints

Indices = Tensor | Sequence[int] | Ints


class LabeledImages(Dataset[tuple[Tensor, int]], ABC):
    """A map-style dataset of uint8 (channels, H, W) images with an identity each.

    `FaceImages` holds pixels; `RecordImages`, `FolderImages` and `ListedImages` decode an image
    whenever it is asked for.

    Attributes:
        labels: (N,) int64, each a position in `identities`.
        identities: list of C distinct names; every one has at least one image.
        names: sequence of N names, which may be decoded on access.
        mirror: whether a mirrored image still shows its identity; without it images are mirrored
            neither in training nor in evaluation.
        num_classes: C.
        counts: (C,) int64, images per identity.
        channels, image_size: the shape of one image, `image_size` being (H, W).
        in_memory: whether pixels are read rather than decoded: from memory or a mapped file.
    """

    in_memory: ClassVar[bool]

    def __init__(
        self,
        labels: Indices,
        identities: Iterable[str],
        names: Sequence[str],
        *,
        count: int,
        channels: int,
        image_size: tuple[int, int],
        mirror: bool,
    ) -> None:
        self.labels = integers("labels", labels)
        self.identities = list(identities)
        self.names = names
        self.mirror = mirror
        self.num_classes = len(self.identities)
        self.channels = channels
        self.image_size = image_size
        self._check(count)
        self.counts = torch.bincount(self.labels, minlength=self.num_classes)
        empty = self.identities[int(self.counts.argmin())]
        expect(self.counts.all(), "identities", "an image of each", f"none of {empty!r}")

    def _check(self, count: int) -> None:
        labels = tuple(self.labels.shape)
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

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.image(index).contiguous(), int(self.labels[index])

    def __repr__(self) -> str:
        shape = "x".join(map(str, (self.channels, *self.image_size)))
        name = type(self).__name__
        return f"{name}({len(self)} images of {self.num_classes} identities, {shape})"

    def images(self, indices: Indices) -> Tensor:
        """Return the images at `indices` (n,), as uint8 (n, channels, H, W).

        Raises:
            FormatError: a file was changed or replaced, or has an image that cannot be decoded.
        """
        return self._read(self._positions(indices))

    def version(self) -> bytes:
        """Return what changes when a file that the set reads is written; b"" without files."""
        return b""

    def subset(self, indices: Indices) -> Self:
        """Return the images at `indices` (n,), in that order.

        Identities left without images are dropped; the others keep their names and their order and
        are relabeled 0, 1, ... without gaps.

        Raises:
            ValueError: if `indices` is empty, not of integers, or outside 0..N-1.
        """
        positions = self._positions(indices)
        expect(len(positions), "indices", "at least one image", "none")
        remaining, labels = torch.unique(self.labels[positions], return_inverse=True)
        identities = [self.identities[label] for label in remaining.tolist()]
        return self._select(positions, labels, identities)

    def of_identities(self, identities: Iterable[str]) -> Self:
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

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Return one image, as uint8 (channels, H, W), which need not be contiguous.

        Raises:
            FormatError: as `images`.
        """

    @abstractmethod
    def _read(self, positions: Tensor) -> Tensor:
        """Return the images at valid positions, (n,) int64."""

    @abstractmethod
    def _select(self, positions: Tensor, labels: Tensor, identities: list[str]) -> Self:
        """Return the images at valid positions with new labels."""

    def _positions(self, indices: Indices) -> Tensor:
        positions = integers("indices", indices)
        if not positions.numel():
            return positions.flatten()
        got = f"shape {tuple(positions.shape)}"
        expect(positions.dim() == 1, "indices", "a list of integers", got)
        low, high = int(positions.min()), int(positions.max())
        expect(low >= 0 and high < len(self), "indices", f"0..{len(self) - 1}", f"{low}..{high}")
        return positions


def integers(name: str, values: Indices) -> Tensor:
    """Return int64; of any integer type and byte order, unlike `torch.as_tensor`."""
    array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    # floats would be cut, and a boolean mask would be read as the positions 0 and 1
    valid = array.dtype.kind in "iu" or not array.size
    got = f"{getattr(values, 'dtype', array.dtype)} of shape {array.shape}"
    expect(valid, name, "a list of integers", got)
    return torch.from_numpy(array.astype(np.int64))
