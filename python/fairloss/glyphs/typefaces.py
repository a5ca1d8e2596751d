"""The faces in a folder of fonts, with their Han characters and style."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.glyphs.packages import FONT_SUFFIXES
from fairloss.progress import Progress, no_progress

# CJK Unified Ideographs and their Extension A, as Unicode 3.0 left them: 27,584 characters;
# hardly any two free fonts share later additions and the other extensions.
HAN = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000))

# The style of a face is that whose word is in its path, which may be a folder named "brush" or
# "pixel". These two styles differ from all others: the draw of held-out typefaces changes the
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
        path: the file.
        index: position of the face in the file.
        characters: Han code points in its table.
        style: "brush", "pixel" or "".
    """

    name: str
    path: Path
    index: int
    characters: frozenset[int] = field(repr=False)
    style: str


def find_typefaces(
    folders: Sequence[Path], progress: Progress = no_progress
) -> tuple[list[Typeface], list[str]]:
    """Return all faces with Han characters in order of name, and the unreadable files.

    Raises:
        ValueError: there is none, or two have one name.
        ImportError: naming the extra to install, if fontTools is missing.
    """
    typefaces: list[Typeface] = []
    unreadable = []
    files = _font_files(folders)
    for number, (file, name) in enumerate(files):
        progress("read fonts", number + 1, len(files))
        try:
            tables = _code_points(file)
        except Exception:  # fontTools raises errors of many types
            unreadable.append(name)
            continue
        for index, code_points in enumerate(tables):
            characters = frozenset(c for c in code_points if any(c in block for block in HAN))
            if characters:
                numbered = f"{name}#{index}" if len(tables) > 1 else name
                typefaces.append(Typeface(numbered, file, index, characters, _style(name)))
    names = [typeface.name for typeface in typefaces]
    twice = [name for name in names if names.count(name) > 1]
    expect(not twice, "fonts", "names that differ", f"two faces named {twice[:1]}; rename a file")
    expected = f"{', '.join(sorted(FONT_SUFFIXES))} files with Han characters"
    expect(typefaces, "fonts", expected, f"none in {', '.join(map(str, folders))}")
    return typefaces, unreadable


def _font_files(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return files and their names, with the folder's name if there are several folders."""
    files = []
    for folder in folders:
        root = folder if len(folders) == 1 else folder.parent
        for path in folder.rglob("*"):
            if path.suffix.lower() in FONT_SUFFIXES and not path.is_dir():
                files.append((path, "-".join(path.relative_to(root).with_suffix("").parts)))
    return sorted(files, key=lambda file: file[1])


def _style(name: str) -> str:
    lower = name.lower()
    return next((s for s, words in STYLES.items() if any(word in lower for word in words)), "")


def _code_points(file: Path) -> list[set[int]]:
    """Return the code points of each face of a file."""
    try:
        from fontTools.ttLib import TTCollection, TTFont
    except ImportError as error:
        raise ImportError(
            'reading fonts needs fontTools: pip install "fairloss-ext[train]"'
        ) from error
    # its messages about other tables, many of which are odd, do not concern the characters
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    if file.suffix.lower() != ".ttc":
        with TTFont(file, lazy=True) as font:
            return [_characters(font)]
    with TTCollection(file, lazy=True) as collection:
        return [_characters(font) for font in collection.fonts]


def _characters(font: Any) -> set[int]:
    # Numbers as names: the true names are not needed, and reading them takes most of the time.
    font.setGlyphOrder([str(glyph) for glyph in range(font["maxp"].numGlyphs)])
    return set(font.getBestCmap() or ())
