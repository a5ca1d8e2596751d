"""The margins that a class may have, and the three actions on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_shape, expect
from fairloss.typing import Bools, Float64s, Ints

ACTIONS = ("lower", "keep", "raise")
KEEP = ACTIONS.index("keep")

# Margins pass through float32 buffers (error 3e-8); grid steps are far larger than this.
_TOLERANCE = 1e-4
# A margin that was rounded to bfloat16 is off by at most 2^-9 of itself.
_ROUNDING = 2**-8


def as_indices(name: str, values: npt.ArrayLike, size: int) -> Ints:
    """Return `values` as int64, or raise ValueError unless they are integers in [0, size)."""
    array = np.asarray(values)
    expect(array.dtype.kind in "iu", name, "integers", f"dtype {array.dtype}")
    outside = (array < 0) | (array >= size)
    if outside.any():
        expect(False, name, f"0 to {size - 1}", array[outside].flat[0])
    return array.astype(np.int64)


def as_vector(name: str, values: npt.ArrayLike, length: int, undefined: bool = False) -> Float64s:
    """Return (length,) float64, finite; with `undefined` NaN is allowed too."""
    array = np.asarray(values, dtype=np.float64)
    check_shape(name, array, length)
    wrong = np.isinf(array) if undefined else ~np.isfinite(array)
    if wrong.any():
        expect(False, name, "finite numbers", array[wrong][0])
    return array


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
        finite = values.ndim == 1 and values.size > 0 and np.isfinite(values).all()
        expect(finite, "values", "a sequence of finite margins", repr(self.values))
        # More than a tolerance on either side, so that no margin is near two of them.
        ascending = (np.diff(values) > 2 * _TOLERANCE).all()
        expect(ascending, "values", "ascending margins", repr(self.values))
        object.__setattr__(self, "values", tuple(values.tolist()))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def legal(self) -> Bools:
        """(M, 3) bool: the lowest margin cannot be lowered, the highest cannot be raised."""
        legal = np.ones((len(self), len(ACTIONS)), dtype=np.bool_)
        legal[0, ACTIONS.index("lower")] = False
        legal[-1, ACTIONS.index("raise")] = False
        return legal

    def index(self, margins: npt.ArrayLike) -> Ints:
        """Return the grid index of every margin; ValueError if one is over 1e-4 off the grid."""
        given = np.asarray(margins, dtype=np.float64)
        distance = np.abs(given[..., None] - np.asarray(self.values))
        off_grid = ~(distance.min(axis=-1) <= _TOLERANCE)  # negated, so that NaN counts as off
        if off_grid.any():
            expect(False, "margins", f"margins on the grid {self.values}", given[off_grid].flat[0])
        nearest: Ints = distance.argmin(axis=-1).astype(np.int64)
        return nearest

    def nearest(self, margins: npt.ArrayLike) -> Float64s:
        """Return the grid value nearest to every margin, such as one that was rounded or averaged.

        Raises:
            ValueError: a margin is not finite, or below or above all of the grid.
        """
        given, values = np.asarray(margins, dtype=np.float64), np.asarray(self.values)
        slack = _ROUNDING * np.abs(values).max()
        outside = ~((given >= values[0] - slack) & (given <= values[-1] + slack))
        if outside.any():
            expected = f"margins from {values[0]:g} to {values[-1]:g}"
            expect(False, "margins", expected, given[outside].flat[0])
        nearest: Float64s = values[np.abs(given[..., None] - values).argmin(axis=-1)]
        return nearest

    def contains(self, margins: npt.ArrayLike) -> bool:
        """Return whether every margin is on the grid."""
        try:
            self.index(margins)
        except ValueError:
            return False
        return True

    def step(self, index: npt.ArrayLike, action: npt.ArrayLike) -> Ints:
        """Return the grid index after `action`, an index into ACTIONS; ValueError if illegal."""
        before = as_indices("index", index, len(self))
        move = as_indices("action", action, len(ACTIONS))
        after = np.asarray(before + move - KEEP, dtype=np.int64)
        outside = (after < 0) | (after >= len(self))
        if outside.any():
            name = ACTIONS[int(np.broadcast_to(move, after.shape)[outside][0])]
            expect(False, "action", f"a move that stays on the grid {self.values}", repr(name))
        return after


DEFAULT_GRID = MarginGrid()
