"""Checks of arguments: one grammar of messages, `name: expected X, got Y`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def expect(condition: object, name: str, expected: str, got: object) -> None:
    """Raise ValueError `name: expected X, got Y` unless `condition` is true."""
    if not condition:
        raise ValueError(f"{name}: expected {expected}, got {got}")


def check_choice(name: str, value: object, allowed: Sequence[object]) -> int:
    """Return the position of `value` in `allowed`, or raise a ValueError that lists them."""
    expect(value in allowed, name, f"one of {', '.join(map(repr, allowed))}", repr(value))
    return list(allowed).index(value)


def check_shape(name: str, array: Any, *shape: int) -> None:
    """Raise ValueError unless the array or tensor has this shape."""
    expect(tuple(array.shape) == shape, name, f"shape {shape}", tuple(array.shape))
