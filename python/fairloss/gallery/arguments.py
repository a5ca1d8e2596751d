"""Checks and conversions of names and embeddings given to a gallery."""

from collections.abc import Sequence
from typing import Any

from fairloss.checks import expect
from fairloss.embeddings import unit_embeddings
from fairloss.typing import Float32s


def unit_rows(embeddings: Any, size: int) -> Float32s:
    """Return an array or a tensor as (N, size) rows of unit length."""
    if hasattr(embeddings, "detach"):  # a tensor, on any device
        tensor = embeddings.detach().cpu()
        short = tensor.is_floating_point() and tensor.element_size() < 4
        # numpy has no bfloat16, and what is longer than float32 may lie outside of its range
        embeddings = (tensor.float() if short else tensor).numpy()
    rows = unit_embeddings(embeddings)
    expect(rows.shape[1] == size, "embeddings", f"shape (N, {size})", f"shape {rows.shape}")
    return rows


def check_names(names: Sequence[str]) -> list[str]:
    """Return the names as a list, or raise ValueError unless all are non-empty strings."""
    expect(not isinstance(names, str), "names", "a sequence of strings", repr(names))
    for name in names:
        expect(isinstance(name, str) and name, "names", "non-empty strings", repr(name))
    return [str(name) for name in names]
