"""Characters, names and styles of the faces in font files."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.ttLib import TTCollection, TTFont
from glyph_fonts import CHARACTERS, write_font

from fairloss.glyphs.typefaces import HAN, find_typefaces


def test_the_blocks_of_unicode_3():
    # 20,902 + 90 code points of the first block, 6,582 + 10 of Extension A, as Unicode 13 left them
    assert sum(map(len, HAN)) == 20_992 + 6_592


def test_names_styles_and_characters(fonts: Path):
    faces, unreadable = find_typefaces([fonts])
    assert unreadable == []
    assert [face.name for face in faces] == [
        *("brush-a", "pixel-a", "pixel-b"),
        *(f"plain{design}" for design in range(7)),
    ]
    assert [face.style for face in faces] == ["brush", "pixel", "pixel"] + 7 * [""]
    assert [len(face.characters) for face in faces[3:]] == [40 - 3 * d for d in range(7)]
    assert faces[0].characters == set(CHARACTERS)


def test_several_folders_name_their_faces(fonts: Path):
    faces, _ = find_typefaces([fonts / "pixel", fonts / "brush"])
    assert [face.name for face in faces] == ["brush-a", "pixel-a", "pixel-b"]


def test_a_collection_has_numbered_faces(tmp_path: Path):
    collection = TTCollection()
    parts = [write_font(tmp_path / f"{d}.part", d, CHARACTERS[: 20 + d]) for d in (1, 2)]
    collection.fonts = [TTFont(part) for part in parts]
    collection.save(tmp_path / "both.ttc")
    faces, _ = find_typefaces([tmp_path])
    assert [(face.name, face.index, len(face.characters)) for face in faces] == [
        ("both#0", 0, 21),
        ("both#1", 1, 22),
    ]


def test_damaged_fonts_and_other_scripts(tmp_path: Path):
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    write_font(tmp_path / "latin.ttf", 0, range(0x41, 0x5B))
    (tmp_path / "readme.txt").touch()
    with pytest.raises(
        ValueError, match="fonts: expected .otf, .* files with Han characters, got none in"
    ):
        find_typefaces([tmp_path])
    write_font(tmp_path / "han.ttf", 0)
    (tmp_path / "gone.ttf").symlink_to("/not/mounted/gone.ttf")
    faces, unreadable = find_typefaces([tmp_path])
    assert ([face.name for face in faces], unreadable) == (["han"], ["damaged", "gone"])


def test_two_faces_of_one_name_are_refused(tmp_path: Path):
    write_font(tmp_path / "a-b.ttf", 0)
    write_font(tmp_path / "a" / "b.ttf", 1)
    with pytest.raises(ValueError, match="two faces named .'a-b'."):
        find_typefaces([tmp_path])
