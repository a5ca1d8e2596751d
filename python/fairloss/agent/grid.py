"""The margins a class may have and the three things that may happen to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ACTIONS = ("lower", "keep", "raise")
KEEP = ACTIONS.index("keep")

# Margins pass through float32 buffers (error 3e-8) but are never off the grid by accident.
_TOLERANCE = 1e-4


def as_indices(name: str, values: npt.ArrayLike, size: int) -> IntArray:
    """`values` as int64, or ValueError unless they are integers in [0, size)."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got dtype {array.dtype}")
    outside = (array < 0) | (array >= size)
    if outside.any():
        raise ValueError(f"{name} must be in [0, {size}), got {array[outside].flat[0]}")
    return array.astype(np.int64)


@dataclass(frozen=True)
class MarginGrid:
    """The allowed margins, ascending; an action moves a class by one grid step.

    The default is the grid of Fair Loss (Liu et al., ICCV 2019). Unit: radians for the angular
    variant, cosine for the cosine variant. The step size and the masking of moves off either end
    are our choice: the four published margins are one step apart.
    """

    values: Sequence[float] = (0.15, 0.25, 0.35, 0.45)

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        # Neighbours must be told apart: more than one tolerance on either side.
        if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"values must be a sequence of finite margins, got {self.values!r}")
        if not (np.diff(values) > 2 * _TOLERANCE).all():
            raise ValueError(f"values must ascend, got {self.values!r}")
        object.__setattr__(self, "values", tuple(values.tolist()))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def legal(self) -> BoolArray:
        """(M, 3) bool: the lowest margin cannot be lowered, the highest cannot be raised."""
        legal = np.ones((len(self), len(ACTIONS)), dtype=np.bool_)
        legal[0, ACTIONS.index("lower")] = False
        legal[-1, ACTIONS.index("raise")] = False
        return legal

    def index(self, margins: npt.ArrayLike) -> IntArray:
        """Grid index of every margin, same shape; ValueError if one is over 1e-4 off the grid."""
        given = np.asarray(margins, dtype=np.float64)
        distance = np.abs(given[..., None] - np.asarray(self.values))
        off_grid = ~(distance.min(axis=-1) <= _TOLERANCE)  # negated, so that NaN counts as off
        if off_grid.any():
            bad = given[off_grid].flat[0]
            raise ValueError(f"margins must be on the grid {self.values}, got {bad}")
        nearest: IntArray = distance.argmin(axis=-1).astype(np.int64)
        return nearest

    def step(self, index: npt.ArrayLike, action: npt.ArrayLike) -> IntArray:
        """Grid index after `action` (index into ACTIONS); ValueError if a move is illegal."""
        before = as_indices("index", index, len(self))
        chosen = as_indices("action", action, len(ACTIONS))
        after = np.asarray(before + chosen - KEEP, dtype=np.int64)
        outside = (after < 0) | (after >= len(self))
        if outside.any():
            verb = ACTIONS[int(np.broadcast_to(chosen, after.shape)[outside][0])]
            raise ValueError(f"action {verb!r} is illegal at that end of the grid {self.values}")
        return after


DEFAULT_GRID = MarginGrid()
