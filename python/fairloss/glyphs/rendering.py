"""Rendering of one character in one face, with Pillow."""

import math

import numpy as np

from fairloss.data.decode import pillow
from fairloss.glyphs.typefaces import Typeface
from fairloss.typing import Bytes

Shift = tuple[float, float]  # to the right and down, as fractions of the image's side

EM = 27 / 32  # font size over image size: leaves a margin for strokes outside the em square
# An image with less ink than this part of its area is blank. The faintest true glyph of the 50
# packages is a single dot in a brush face, 0.012; the next below are exact zeros.
MIN_INK = 0.006
# Not a character (Unicode 23.7), so a face draws its missing-glyph box for it.
NO_CHARACTER = 0x10FFFE


def shift_in_pixels(shift: Shift, size: int) -> tuple[int, int]:
    """Round a shift to whole pixels (right, down), as a fraction would blur the pixel faces.

    Halves are rounded up, where round() would shift faces of odd height in both directions.
    """
    return math.floor(shift[0] * size + 0.5), math.floor(shift[1] * size + 0.5)


class Pen:
    """Draws the characters of one face, white on black.

    Args:
        typeface: the face.
        size: side of the images in pixels.
        shift: of all characters, as each face has its own position of the em square.
        margin: further pixels on each of the four sides.
    """

    def __init__(
        self, typeface: Typeface, size: int, shift: Shift = (0.0, 0.0), margin: int = 0
    ) -> None:
        pillow()
        from PIL import ImageFont

        self.side = size + 2 * margin
        right, down = shift_in_pixels(shift, size)
        self.center = (self.side // 2 + right, self.side // 2 + down)
        # The basic layout has no features that depend on a library that may be missing.
        self.font = ImageFont.truetype(
            str(typeface.path),
            round(EM * size),
            index=typeface.index,
            layout_engine=ImageFont.Layout.BASIC,
        )
        self._missing: bytes | None = None

    def draw(self, code_point: int) -> Bytes:
        """Return one character, the center of its em square at the center of the image.

        Raises:
            OSError: FreeType cannot read the glyph.
        """
        from PIL import Image, ImageDraw

        image = Image.new("L", (self.side, self.side))
        text = chr(code_point)
        ImageDraw.Draw(image).text(self.center, text, font=self.font, fill=255, anchor="mm")
        return np.asarray(image)

    def is_missing(self, image: Bytes) -> bool:
        """Return True if it is the face's image of characters that it does not have."""
        if self._missing is None:
            self._missing = self.draw(NO_CHARACTER).tobytes()
        return image.tobytes() == self._missing


def is_blank(image: Bytes, size: int) -> bool:
    """Return True if there is almost no ink, relative to `size` x `size` without margins."""
    return int(image.sum(dtype=np.int64)) < 255 * MIN_INK * size**2
