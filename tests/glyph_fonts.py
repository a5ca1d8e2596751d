"""Small synthetic fonts: each glyph is a pattern of squares by its character and design."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

# At 27 pixels an em, a cell is 3 pixels wide exactly.
EM, CELLS = 1080, 9
CHARACTERS = tuple(range(0x4E00, 0x4E00 + 40))


def _glyph(cells: np.ndarray):
    """Black squares on a 9 x 9 grid that fills the em square."""
    pen = TTGlyphPen(None)
    side = EM // CELLS
    for row, column in np.argwhere(cells):
        x, y = int(column) * side, int(row) * side
        pen.moveTo((x, y))
        for corner in ((x, y + side), (x + side, y + side), (x + side, y)):
            pen.lineTo(corner)
        pen.closePath()
    return pen.glyph()


def pattern(character: int, design: int) -> np.ndarray:
    """(9, 9) bool: half of it is the character's, the other half the design's."""
    shared = np.random.default_rng(character).random((CELLS, CELLS)) < 0.5
    own_half = np.random.default_rng([character, design]).random((CELLS, CELLS)) < 0.5
    rows = np.arange(CELLS)[:, None] % 2 == 0
    cells = np.where(rows, shared, own_half)
    cells[0, 0] = cells[-1, -1] = True  # the same extent everywhere
    return cells


def write_font(
    path: Path,
    design: int,
    characters: Sequence[int] = CHARACTERS,
    blank: Sequence[int] = (),
    tofu: Sequence[int] = (),
    broken: Sequence[int] = (),
    raised: int = 0,
) -> Path:
    """Write a TrueType font and return its path.

    `design` decides the shapes; `blank` characters are promised and empty, `tofu` ones show the box
    of .notdef, `broken` ones have a glyph that FreeType refuses. `raised` moves all glyphs up.
    """
    box = np.ones((CELLS, CELLS), dtype=bool)
    box[1:-1, 1:-1] = False
    glyphs = {".notdef": _glyph(box)}
    for character in characters:
        cells = pattern(character, design)
        if character in blank:
            cells = np.zeros_like(cells)
        elif character in tofu:
            cells = box
        glyph = _glyph(cells)
        if raised:
            glyph.coordinates.translate((0, raised))
        glyphs[f"uni{character:04X}"] = glyph
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({c: f"uni{c:04X}" for c in characters})
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (EM, 0) for name in glyphs})
    builder.setupHorizontalHeader(ascent=EM, descent=0)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    if broken:
        _break(path, [list(glyphs).index(f"uni{c:04X}") for c in broken])
    return path


def _break(path: Path, glyphs: Sequence[int]) -> None:
    """Promise more contours than the glyphs have."""
    from fontTools.ttLib import TTFont

    font = TTFont(path)
    start = font.reader.tables["glyf"].offset
    positions = [start + font["loca"][glyph] for glyph in glyphs]
    content = bytearray(path.read_bytes())
    for position in positions:
        content[position : position + 2] = (0x7FFF).to_bytes(2, "big")  # as many contours
    path.write_bytes(content)
