"""Faults in synthetic fonts: failing, blank and near-duplicate faces must be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from glyph_fonts import CHARACTERS, EM, write_font

from fairloss.glyphs.cleaning import (
    DUPLICATE,
    MIN_SHARED,
    design_numbers,
    distances,
    inspect,
    sample_characters,
)
from fairloss.glyphs.designs import find_designs
from fairloss.glyphs.rendering import Pen, is_blank
from fairloss.glyphs.typefaces import find_typefaces


def face(path: Path):
    return next(f for f in find_typefaces([path.parent])[0] if f.path == path)


def test_blank_and_missing_glyphs(tmp_path: Path):
    blank, tofu, broken = CHARACTERS[1:4]
    path = write_font(tmp_path / "a.ttf", 0, blank=[blank], tofu=[tofu], broken=[broken])
    pen = Pen(face(path), 32)
    whole = pen.draw(CHARACTERS[0])
    assert whole.shape == (32, 32)
    assert (is_blank(whole, 32), pen.is_missing(whole)) == (False, False)
    assert is_blank(pen.draw(blank), 32)
    one_pixel = np.zeros((32, 32), np.uint8)
    one_pixel[0, 0] = 255
    assert is_blank(one_pixel, 32)
    assert not is_blank(one_pixel, 8)
    assert pen.is_missing(pen.draw(tofu))
    assert pen.is_missing(pen.draw(0x5000))  # one the table does not have
    with pytest.raises(OSError, match="outline"):
        pen.draw(broken)


def test_faults_are_named(tmp_path: Path):
    write_font(tmp_path / "whole.ttf", 0)
    write_font(tmp_path / "blank.ttf", 1, blank=CHARACTERS[5:])
    write_font(tmp_path / "tofu.ttf", 2, tofu=CHARACTERS[5:])
    write_font(tmp_path / "broken.ttf", 3, broken=CHARACTERS[7:8])
    (tmp_path / "damaged.otf").touch()
    result = find_designs([tmp_path])
    assert [face.name for face in result.faces] == ["whole"]
    assert sorted(result.left_out) == ["blank", "broken", "damaged", "tofu"]
    assert result.left_out["blank"] == "draws 5 of 40 characters of the sample that it promises"
    assert result.left_out["tofu"].startswith("draws 5 of 40")
    assert result.left_out["broken"].startswith("fails: ")
    assert result.left_out["damaged"] == "unreadable"


def test_no_usable_face(tmp_path: Path):
    write_font(tmp_path / "blank.ttf", 0, blank=CHARACTERS)
    with pytest.raises(ValueError, match="fonts: expected a usable face, got blank: draws 0 of 40"):
        find_designs([tmp_path])


def test_near_duplicates_are_one_design(tmp_path: Path):
    write_font(tmp_path / "a.ttf", 0)
    write_font(tmp_path / "a-copy.ttf", 0)
    write_font(tmp_path / "a-region.ttf", 0, CHARACTERS[:30], blank=CHARACTERS[:3])
    write_font(tmp_path / "a-raised.ttf", 0, CHARACTERS[:35], raised=EM // 9)
    write_font(tmp_path / "b.ttf", 1)
    result = find_designs([tmp_path])
    names = [[result.faces[f].name for f in faces] for faces in result.members]
    # those with most characters first
    assert names == [["a", "a-copy", "a-raised", "a-region"], ["b"]]
    assert result.design_of_face == [0, 0, 0, 0, 1]


def test_a_raised_face_is_shifted_back(tmp_path: Path):
    plain = inspect(face(write_font(tmp_path / "a.ttf", 0)), CHARACTERS)
    raised_face = face(write_font(tmp_path / "b.ttf", 0, raised=EM // 9))
    raised = inspect(raised_face, CHARACTERS)
    # a ninth of an em of 27 pixels is 3 pixels up
    assert raised.shift == (plain.shift[0], plain.shift[1] + 3 / 32)
    assert np.array_equal(raised.drawings, plain.drawings)
    pen = Pen(raised_face, 32, raised.shift)
    assert np.array_equal(pen.draw(CHARACTERS[0]), raised.drawings[0])
    rows = np.flatnonzero((raised.drawings[0] > 127).any(axis=1))
    assert abs((rows[0] + rows[-1] + 1) / 2 - 16) <= 0.5


def test_distance_against_correlations(fonts: Path):
    faces = find_typefaces([fonts])[0]
    sample = sample_characters(faces)
    assert sample == list(CHARACTERS[:22])  # those that all promise
    inspected = [inspect(one, sample) for one in faces[:3]]
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16

    def blurred(image):
        padded = np.pad(image.astype(float), 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        return (windows * kernel).sum(axis=(2, 3)).ravel()

    def expected(a, b):
        def distance(aside):
            pairs = zip(inspected[a].drawings, inspected[b].drawings, strict=True)
            shifted = [(blurred(x), blurred(np.roll(y, aside, (0, 1)))) for x, y in pairs]
            return 1 - np.median([np.corrcoef(x, y)[0, 1] for x, y in shifted])

        asides = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        return min(map(distance, asides))

    result = distances(inspected)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert result[a, b] == pytest.approx(expected(a, b), abs=1e-5)
        assert result[a, b] > 2 * DUPLICATE


def test_few_shared_characters_give_no_distance(tmp_path: Path):
    half = MIN_SHARED + 1
    low = write_font(tmp_path / "low.ttf", 0, CHARACTERS[: half + 15])
    high = write_font(tmp_path / "high.ttf", 0, CHARACTERS[half:])
    both = [inspect(face(path), CHARACTERS) for path in (low, high)]
    assert np.isinf(distances(both)[0, 1])


def test_chains_of_near_faces():
    near, far = DUPLICATE / 2, 2 * DUPLICATE
    between = np.full((5, 5), far)
    for a, b in ((4, 1), (1, 3), (0, 2)):
        between[a, b] = between[b, a] = near
    assert design_numbers(between) == [0, 1, 0, 1, 1]
