"""Checks of arguments: one grammar of messages, `name: expected X, got Y`."""

import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss_ext._checks import check_choice, check_shape, expect

__all__ = [
    "check_choice",
    "check_file",
    "check_flags",
    "check_integer",
    "check_integers",
    "check_length",
    "check_number",
    "check_positive",
    "check_shape",
    "expect",
]


def check_number(
    name: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Raise ValueError unless `value` is finite and between `low` and `high`.

    Args:
        name: of the argument.
        value: to check.
        low: smallest value; excluded with `open_low`.
        high: largest value; excluded with `open_high`.
        open_low: whether `low` itself is refused.
        open_high: whether `high` itself is refused.
    """
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    expected = _range(low, high, open_low, open_high)
    if not math.isfinite(value):
        expected = expected.replace("a number", "a finite number")
    expect(math.isfinite(value) and above and below, name, expected, value)


def _range(low: float, high: float, open_low: bool, open_high: bool) -> str:
    if math.isinf(low) and math.isinf(high):
        return "a finite number"
    if math.isinf(high):
        return f"a number {'above' if open_low else 'of at least'} {low:g}"
    if math.isinf(low):
        return f"a number {'below' if open_high else 'of at most'} {high:g}"
    return f"a number in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless `value` is finite and above 0."""
    check_number(name, value, 0, open_low=True)


def check_integer(name: str, value: Any, low: int = 1) -> int:
    """Return `value` as int, or raise ValueError unless it is an integer of at least `low`.

    Any integer type is accepted, a bool is not.
    """
    try:
        number = low - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = low - 1
    expect(number >= low, name, f"an integer of at least {low}", repr(value))
    return number


def check_file(name: str, path: Path) -> None:
    """Raise FileNotFoundError unless `path` is a file."""
    if not path.is_file():
        raise FileNotFoundError(f"{name}: {path} does not exist")


def check_length(name: str, length: int, expected: int, what: str = "entries") -> None:
    """Raise ValueError unless there are `expected` entries."""
    expect(length == expected, name, f"{expected} {what}", length)


def check_integers(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return (N,) int64, or raise ValueError: floats would be cut, and bools are a mask."""
    array = np.asarray(values)
    got = f"shape {array.shape} and dtype {array.dtype}"
    valid = array.ndim == 1 and (array.dtype.kind in "iu" or not array.size)
    expect(valid, name, "an (N,) array of integers", got)
    return array.astype(np.int64)


def check_flags(name: str, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return bools, or raise ValueError for anything but True, False, 1 and 0 of any dtype."""
    array = np.asarray(values)
    other = array[~np.isin(array, (0, 1))] if array.dtype.kind in "biuf" else array.flatten()
    expect(not len(other), name, "True/False or 1/0", other[:5])
    return array.astype(np.bool_)
