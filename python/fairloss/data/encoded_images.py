"""Data sets whose images are decoded when they are asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from fairloss.data.decode import decode_bytes, jpeg_decoder, pillow
from fairloss.data.face_images import pixel_bytes
from fairloss.data.labeled_images import Indices, LabeledImages
from fairloss.data.packed_names import PackedNames
from fairloss.data.text_files import StrPath
from fairloss.io.atomic import FormatError
from fairloss.typing import Ints


class Source(Protocol):
    """Encoded images by row."""

    def read(self, row: int) -> bytes:
        """Return an image; FormatError if its file has changed, or is damaged."""

    def describe(self, row: int) -> tuple[StrPath, str]:
        """Return the file of an image, and where it is in it, for errors."""

    def version(self) -> bytes:
        """Return what changes when a file is written."""


class EncodedImages(LabeledImages):
    """Labeled images that are decoded whenever they are asked for.

    Decoded images have the pixels of `read_folder`. The set is small, and pickles; every process
    opens files of its own. A file that was written since the set was made is refused.

    Args:
        source: of the encoded images.
        rows: (N,) of each image in the source.
        labels: as in `LabeledImages`, and so are the others.
        identities: names.
        names: N names.
        image_size: (H, W).
        channels: 1 for gray, 3 for RGB.
        mirror: whether a mirrored image still shows its identity.

    Attributes:
        decoder: of JPEG, "simplejpeg" where it is installed and "pillow" elsewhere. It stays the
            same in all processes, though the two give the same pixels.
    """

    in_memory = False

    def __init__(
        self,
        source: Source,
        rows: Ints,
        labels: Indices,
        identities: Iterable[str],
        names: Sequence[str],
        image_size: tuple[int, int],
        channels: int,
        *,
        mirror: bool = True,
    ) -> None:
        pixel_bytes(1, channels, image_size)  # checks its arguments
        height, width = image_size
        pillow()
        self.decoder = jpeg_decoder()
        self._source, self._rows = source, rows
        super().__init__(
            labels,
            identities,
            names,
            count=len(rows),
            channels=channels,
            image_size=(height, width),
            mirror=mirror,
        )

    def read_encoded(self, index: int) -> bytes:
        """Return an image as it is stored.

        Raises:
            FormatError: its file was changed, or is damaged.
        """
        return self._source.read(int(self._rows[index]))

    def version(self) -> bytes:
        """Return what changes when a file of the set is written."""
        return self._source.version()

    def image(self, index: int) -> Tensor:
        """Return one image, which is decoded; FormatError if it cannot be."""
        data = self.read_encoded(index)
        try:
            return decode_bytes(data, self.image_size, self.channels, self.decoder)
        except Exception as error:  # Pillow raises many kinds on malformed files
            path, position = self._source.describe(int(self._rows[index]))
            raise FormatError(path, f"{position}cannot be read as an image: {error}") from error

    def _read(self, positions: Tensor) -> Tensor:
        images = torch.empty((len(positions), self.channels, *self.image_size), dtype=torch.uint8)
        pixels = images.numpy()  # whose assignment changes the layout faster than torch's
        for row, position in enumerate(positions.tolist()):
            pixels[row] = self.image(position)
        return images

    def _select(self, positions: Tensor, labels: Tensor, identities: list[str]) -> Self:
        part = copy.copy(self)
        part._rows = self._rows[positions.numpy()]
        names = PackedNames(self.names[position] for position in positions.tolist())
        LabeledImages.__init__(
            part,
            labels,
            identities,
            names,
            count=len(positions),
            channels=self.channels,
            image_size=self.image_size,
            mirror=self.mirror,
        )
        return part
