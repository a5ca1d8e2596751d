"""The choice of held-out designs and characters, by counting."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from fairloss.glyphs import GlyphOptions
from fairloss.glyphs.selection import CharacterSplit, hold_out, kept_images

STYLES = ["", "brush", "", "", "pixel", "brush", "", "", "brush", "", "pixel", ""]


@pytest.mark.parametrize("count", [3, 5, 8])
def test_every_style_is_among_the_held_out(count: int):
    draws = [hold_out(STYLES, count, seed) for seed in range(50)]
    for drawn in draws:
        assert len(set(drawn)) == len(drawn) == count
        assert drawn == sorted(drawn)
        styles = Counter(STYLES[design] for design in drawn)
        assert styles["brush"] >= 1
        assert styles["pixel"] >= 1
    # each design is held out at some time
    assert {design for drawn in draws for design in drawn} == set(range(12))
    assert hold_out(STYLES, count, 7) == draws[7]


def test_styles_in_proportion():
    # a quarter of 12 designs are brush ones: 2 of 8
    assert Counter(STYLES[d] for d in hold_out(STYLES, 8, 0)) == {"brush": 2, "pixel": 1, "": 5}


def test_fonts_without_styles():
    assert len(hold_out([""] * 6, 4, 0)) == 4
    assert hold_out(STYLES, 0, 0) == []


@pytest.mark.parametrize("count", [1, 12])
def test_too_few_or_too_many(count: int):
    with pytest.raises(
        ValueError, match=f"held_out_typefaces: expected . to .* of 12 designs, .* got {count}"
    ):
        hold_out(STYLES, count, 0)


def test_split_fill_up_and_are_disjoint():
    split = CharacterSplit(
        GlyphOptions(classes=3, validation=2, test=2, held_out_typefaces=2, smallest=3)
    )
    for character, (seen, held) in enumerate(
        [(9, 1), (9, 2), (2, 2), (2, 0), (1, 2), (2, 1), (3, 0), (4, 1), (9, 9)]
    ):
        assert not split.complete
        split.assign(character, seen, held, by_all_held_out=held == 2)
    # 0 is drawn by one held-out typeface, no pair; 4 is seen once; 5 is too rare for training
    assert (split.test, split.validation, split.train) == ([1, 2], [0, 3], [6, 7, 8])
    assert split.complete
    assert split.count == 7
    split.check()


def test_a_pareto_shape_asks_the_same_of_all():
    split = CharacterSplit(
        GlyphOptions(classes=2, validation=1, test=1, held_out_typefaces=2, largest=5)
    )
    for character, (seen, held) in enumerate([(5, 1), (4, 2), (5, 2), (9, 2), (6, 2)]):
        split.assign(character, seen, held, by_all_held_out=held == 2)
    assert (split.test, split.validation, split.train) == ([2], [3], [4])
    with pytest.raises(ValueError, match="classes: expected at most 1, as many as qualify, got 2"):
        split.check()


def test_pareto_counts_are_assigned_at_random():
    counts = torch.tensor([20, 16, 18, 17, 16])
    options = GlyphOptions(classes=5, largest=16, smallest=1)
    kept = kept_images(counts, options)
    # 16 * (1/16)^(c/4)
    assert sorted(map(len, kept)) == [1, 2, 4, 8, 16]
    for positions, count in zip(kept, counts, strict=True):
        assert len(set(positions.tolist())) == len(positions)
        assert int(positions.max()) < count
    again = kept_images(counts, options)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))
    profiles = set()
    for seed in range(9):
        drawn = kept_images(counts, GlyphOptions(classes=5, largest=16, smallest=1, seed=seed))
        profiles.add(tuple(map(len, drawn)))
    assert len(profiles) > 1


def test_natural_counts_keep_all():
    kept = kept_images(torch.tensor([2, 3]), GlyphOptions())
    assert [positions.tolist() for positions in kept] == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size": 4}, "size: expected an integer of at least 8, got 4"),
        ({"classes": 1}, "classes: expected an integer of at least 2, got 1"),
        ({"test": -1}, "test: expected an integer of at least 0, got -1"),
        (
            {"classes": 9, "largest": 2, "smallest": 3},
            "largest: expected an integer of at least 3, got 2",
        ),
        ({"largest": 9}, "classes: expected a number, as largest is given"),
    ],
)
def test_options_out_of_range(setting: dict, message: str):
    with pytest.raises(ValueError, match=message):
        GlyphOptions(**setting).check()
