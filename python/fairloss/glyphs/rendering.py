"""Drawing one character in one face, with Pillow."""

from __future__ import annotations

from math import floor

import numpy as np
import numpy.typing as npt

from fairloss.data.decode import pillow
from fairloss.glyphs.typefaces import Typeface

Image = npt.NDArray[np.uint8]
Shift = tuple[float, float]  # to the right and down, in parts of the image's side

EM = 27 / 32  # font size over image size: leaves room for what overshoots the em square
# An image with less ink than this part of its area is blank. The faintest true glyph of the 50
# packages is a single dot in a brush face, 0.012; the next below are exact zeros.
MIN_INK = 0.006
# Not a character (Unicode 23.7), so whatever a face draws for it is its missing-glyph box.
NO_CHARACTER = 0x10FFFE


def pixels(shift: Shift, size: int) -> tuple[int, int]:
    """A shift in whole pixels: half a pixel would blur the pixel faces."""
    # halves up, where round() would take faces of odd height to either side
    return floor(shift[0] * size + 0.5), floor(shift[1] * size + 0.5)


class Pen:
    """Draws the characters of one face, white on black.

    `shift` moves every character alike, as faces place the em square by their own metrics. Images
    are uint8 of `size` pixels a side, plus `margin` pixels on each of the four.
    """

    def __init__(
        self, typeface: Typeface, size: int, shift: Shift = (0.0, 0.0), margin: int = 0
    ) -> None:
        pillow()
        from PIL import ImageFont

        self.side = size + 2 * margin
        across, down = pixels(shift, size)
        self.centre = (self.side // 2 + across, self.side // 2 + down)
        # The basic layout has no features that depend on a library that may be missing.
        self.font = ImageFont.truetype(
            str(typeface.path),
            round(EM * size),
            index=typeface.index,
            layout_engine=ImageFont.Layout.BASIC,
        )
        self._missing: bytes | None = None

    def draw(self, code_point: int) -> Image:
        """One character, the middle of its em square at the middle of the image.

        Raises:
            OSError: FreeType cannot read the glyph.
        """
        from PIL import Image as PillowImage
        from PIL import ImageDraw

        image = PillowImage.new("L", (self.side, self.side))
        ImageDraw.Draw(image).text(
            self.centre, chr(code_point), font=self.font, fill=255, anchor="mm"
        )
        return np.asarray(image)

    def is_missing(self, image: Image) -> bool:
        """Whether it is what the face draws for characters that it does not have."""
        if self._missing is None:
            self._missing = self.draw(NO_CHARACTER).tobytes()
        return image.tobytes() == self._missing


def is_blank(image: Image, size: int) -> bool:
    """Whether there is almost no ink in it, a margin beyond `size` not counted as area."""
    return int(image.sum(dtype=np.int64)) < 255 * MIN_INK * size**2
