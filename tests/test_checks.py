"""Checks of arguments: ranges and words."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from fairloss import checks


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "expected"),
    [
        ((), [-1e300, 0, 5], [math.nan, math.inf, -math.inf], "a finite number"),
        ((1,), [1, 7.5], [0.9, math.nan, math.inf], "a number of at least 1"),
        ((-math.inf, 1), [1, -9], [1.1, math.nan, -math.inf], "a number of at most 1"),
        ((0, 1), [0, 0.5, 1], [-0.1, 1.1, math.nan], "a number in [0, 1]"),
    ],
)
def test_a_number_is_within_its_closed_bounds(bounds, inside, outside, expected):
    for value in inside:
        checks.check_number("x", value, *bounds)
    for value in outside:
        message = expected if math.isfinite(value) or "finite" in expected else "a finite number"
        with pytest.raises(ValueError, match=re.escape(f"x: expected {message}")):
            checks.check_number("x", value, *bounds)


@pytest.mark.parametrize(
    ("low", "high", "options", "refused", "expected"),
    [
        (0, math.inf, {"open_low": True}, 0, "a number above 0"),
        (-math.inf, 1, {"open_high": True}, 1, "a number below 1"),
        (0, 1, {"open_low": True}, 0, "a number in (0, 1]"),
        (0, 1, {"open_high": True}, 1, "a number in [0, 1)"),
        (0, 1, {"open_low": True, "open_high": True}, 1, "a number in (0, 1)"),
    ],
)
def test_an_open_bound_itself_is_refused(low, high, options, refused, expected):
    checks.check_number("x", 0.5, low, high, **options)
    with pytest.raises(ValueError, match=re.escape(f"x: expected {expected}, got {refused}")):
        checks.check_number("x", refused, low, high, **options)


def test_a_positive_number_is_above_0():
    checks.check_positive("x", 1e-9)
    for value in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="x: expected a (finite )?number above 0, got "):
            checks.check_positive("x", value)


def test_an_integer_has_an_integer_type():
    assert checks.check_integer("x", np.int32(3)) == 3
    for value in (0, 2.0, "3", True, None):
        with pytest.raises(ValueError, match="x: expected an integer of at least 1, got "):
            checks.check_integer("x", value)


def test_a_length_and_a_choice_are_compared():
    checks.check_length("x", 3, 3)
    with pytest.raises(ValueError, match="x: expected 3 rows, got 2"):
        checks.check_length("x", 2, 3, "rows")
    assert checks.check_choice("x", "b", ("a", "b")) == 1
    with pytest.raises(ValueError, match="x: expected one of 'a', 'b', got 'c'"):
        checks.check_choice("x", "c", ("a", "b"))
