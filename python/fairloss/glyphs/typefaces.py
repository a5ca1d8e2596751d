"""The faces in a folder of fonts: which Han characters each promises, and its style."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairloss.glyphs.packages import FONT_SUFFIXES, Progress

# CJK Unified Ideographs and their Extension A, as Unicode 3.0 left them: 27,584 characters, for
# later additions and the other extensions hardly any two free fonts agree to have.
HAN = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000))

# A face has the style whose word its path holds, so a folder named "brush" or "pixel" says it too.
# These two styles are apart from all others: the draw of held-out typefaces alone moves the
# verification rate more than any loss does, unless each draw has some of both.
STYLES = {
    "brush": ("brush", "kouzan", "soseki"),
    "pixel": ("pixel", "misaki", "dotgothic"),
}


@dataclass(frozen=True)
class Typeface:
    """One face of a font file.

    Attributes:
        name: file path inside the folder, "-" for "/", with "#index" in a collection.
        path, index: the file, and the face's place in it.
        characters: Han code points that its table promises.
        style: "brush", "pixel" or "".
    """

    name: str
    path: Path
    index: int
    characters: frozenset[int] = field(repr=False)
    style: str


def find_typefaces(
    folders: Sequence[Path], progress: Progress | None = None
) -> tuple[list[Typeface], list[str]]:
    """All faces with Han characters in the folders, in order of name, and the unreadable files.

    Raises:
        ValueError: there is none, or two have one name.
        ImportError: naming the extra to install, if fontTools is missing.
    """
    found: list[Typeface] = []
    unreadable = []
    files = _font_files(folders)
    for number, (file, name) in enumerate(files):
        if progress is not None:
            progress("read fonts", number + 1, len(files))
        try:
            tables = _code_points(file)
        except Exception:  # fontTools raises whatever its parsing stumbles over
            unreadable.append(name)
            continue
        for index, code_points in enumerate(tables):
            characters = frozenset(c for c in code_points if any(c in block for block in HAN))
            if characters:
                numbered = f"{name}#{index}" if len(tables) > 1 else name
                found.append(Typeface(numbered, file, index, characters, _style(name)))
    names = [typeface.name for typeface in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"fonts: two faces are named {twice}; rename one's file")
    if not found:
        raise ValueError(
            f"fonts: no font with Han characters in {', '.join(map(str, folders))}; expected "
            f"{', '.join(sorted(FONT_SUFFIXES))} files"
        )
    return found, unreadable


def _font_files(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Files and their names: those of one folder without, of several with the folder's name."""
    files = []
    for folder in folders:
        root = folder if len(folders) == 1 else folder.parent
        for path in folder.rglob("*"):
            if path.suffix.lower() in FONT_SUFFIXES and path.is_file():
                files.append((path, "-".join(path.relative_to(root).with_suffix("").parts)))
    return sorted(files, key=lambda file: file[1])


def _style(name: str) -> str:
    lower = name.lower()
    return next((s for s, words in STYLES.items() if any(word in lower for word in words)), "")


def _code_points(file: Path) -> list[set[int]]:
    """The code points of each face of a file."""
    try:
        from fontTools.ttLib import TTCollection, TTFont
    except ImportError as error:
        raise ImportError(
            'reading fonts needs fontTools: pip install "fairloss-ext[train]"'
        ) from error
    # what it says of other tables, many of which are odd, does not concern the characters
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    if file.suffix.lower() != ".ttc":
        with TTFont(file, lazy=True) as font:
            return [_of(font)]
    with TTCollection(file, lazy=True) as collection:
        return [_of(font) for font in collection.fonts]


def _of(font: Any) -> set[int]:
    # Names of our own: the true ones are not needed, and reading them takes most of the time.
    font.setGlyphOrder([str(glyph) for glyph in range(font["maxp"].numGlyphs)])
    return set(font.getBestCmap() or ())
