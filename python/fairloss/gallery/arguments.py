"""What a gallery is given, checked and brought into one form."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from fairloss.embeddings import unit_embeddings
from fairloss.gallery.rows import Floats


def unit(embeddings: Any, size: int) -> Floats:
    """(N, size) rows of unit length of an array or a tensor."""
    if hasattr(embeddings, "detach"):  # a tensor, on any device
        tensor = embeddings.detach().cpu()
        short = tensor.is_floating_point() and tensor.element_size() < 4
        # numpy has no bfloat16, and what is longer than float32 may lie outside of its range
        embeddings = (tensor.float() if short else tensor).numpy()
    rows = unit_embeddings(embeddings)
    if rows.shape[1] != size:
        raise ValueError(f"embeddings must have {size} columns, got {rows.shape[1]}")
    return rows


def positive(argument: str, value: int) -> int:
    """As int, whatever integer type it has; a bool counts nothing."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{argument} must be an integer of at least 1, got {value!r}")
    return number


def check_names(names: Sequence[str]) -> list[str]:
    """As a list, if all are non-empty strings."""
    if isinstance(names, str):
        raise ValueError(f"names must be a sequence of strings, got the string {names!r}")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"names must be non-empty strings, got {name!r}")
    return [str(name) for name in names]
