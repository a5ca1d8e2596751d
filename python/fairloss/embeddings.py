"""Embeddings of unit length."""

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.typing import Bools, Float32s


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


def _check_rows(valid: Bools, expected: str, got: str) -> None:
    row, count = int((~valid).argmax()) if len(valid) else 0, int((~valid).sum())
    expect(not count, "embeddings", expected, f"row {row} with {got} ({count} such rows)")
