"""Embeddings of unit length, and rows that are equal."""

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.typing import Bools, Float32s, Floats, Ints

PRODUCT_ROWS = 256  # multiplied at a time: 1 MiB of float64 at 512 dimensions, for the cache


def unit_embeddings(embeddings: npt.ArrayLike) -> Float32s:
    """Divide each row by its L2 norm.

    Args:
        embeddings: (N, D) real numbers of any dtype and magnitude.

    Returns:
        (N, D) float32, C-contiguous, a copy.

    Raises:
        ValueError: wrong shape or dtype, or a row that is zero or not finite (named).
    """
    array = np.asarray(embeddings)
    expect(
        array.ndim == 2 and array.dtype.kind in "fiu",
        "embeddings",
        "an (N, D) array of real numbers",
        f"shape {array.shape} and dtype {array.dtype}",
    )
    array = np.array(array, dtype=np.result_type(array, np.float32), order="C")
    largest = np.abs(array).max(axis=1, keepdims=True, initial=0)
    _check_rows(np.isfinite(largest[:, 0]), "finite rows", "NaN or infinity")
    _check_rows(largest[:, 0] > 0, "rows with a direction", "all zeros")
    array /= largest  # first, so that squares neither overflow nor vanish
    array /= np.linalg.norm(array, axis=1, keepdims=True)
    return array.astype(np.float32, copy=False)


def pair_products(left: Floats, right: Floats) -> Float32s:
    """Compute the inner product of each row of `left` with the same row of `right`.

    A product depends on its two rows alone, not on their order or on their positions, as an entry
    of a matrix product may: products with equal rows are equal. Sums are in float64.

    Args:
        left: (N, D).
        right: (N, D), or (D,) for all rows.
    """
    products = np.empty(len(left), dtype=np.float32)
    right = np.broadcast_to(right, left.shape)
    for start in range(0, len(left), PRODUCT_ROWS):
        part = slice(start, start + PRODUCT_ROWS)
        # a sum along contiguous float64 rows is unbuffered, so its order depends on D alone
        products[part] = np.multiply(left[part], right[part], dtype=np.float64).sum(axis=1)
    return products


def equal_rows(rows: Float32s, table: Float32s) -> Ints:
    """Return (N,) the first row of `table` that each row equals bit for bit; -1 if none does.

    Args:
        rows: (N, D), C-contiguous.
        table: (K, D), C-contiguous.
    """
    # sums of bits, modulo 2^32, leave few rows to compare
    sums = [x.view(np.uint32).sum(axis=1, dtype=np.uint32) for x in (rows, table)]
    first: dict[bytes, int] = {}
    for number, row in enumerate(table):
        first.setdefault(row.tobytes(), number)
    match = np.full(len(rows), -1, dtype=np.int64)
    for candidate in np.flatnonzero(np.isin(*sums)):
        match[candidate] = first.get(rows[candidate].tobytes(), -1)
    return match


def _check_rows(valid: Bools, expected: str, got: str) -> None:
    row, count = int((~valid).argmax()) if len(valid) else 0, int((~valid).sum())
    expect(not count, "embeddings", expected, f"row {row} with {got} ({count} such rows)")
