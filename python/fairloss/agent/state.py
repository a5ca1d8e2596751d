"""The state of a class: its image count, its intra-class variance and its margin."""

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import (
    DEFAULT_GRID,
    MarginGrid,
    as_indices,
)
from fairloss.checks import check_shape, expect
from fairloss.typing import Bools, Float64s, Ints

BINS = 3
_COUNT_WORDS = ("few", "some", "many")
_VARIANCE_WORDS = ("low", "medium", "high")


def num_states(grid: MarginGrid) -> int:
    """Return S = 3 count bins x 3 variance bins x M margins."""
    return BINS * BINS * len(grid)


def legal_actions(grid: MarginGrid) -> Bools:
    """Return (S, 3) bool: the legal actions of each state (90 pairs on the default grid)."""
    return np.tile(grid.legal, (BINS * BINS, 1))


def decode_state(state: npt.ArrayLike, grid: MarginGrid) -> tuple[Ints, Ints, Ints]:
    """Return count bin, variance bin and margin index of every state id."""
    group, margin = np.divmod(as_indices("state", state, num_states(grid)), len(grid))
    count_bin, variance_bin = np.divmod(group, BINS)
    return count_bin, variance_bin, margin


def describe_state(state: int, grid: MarginGrid) -> str:
    """Describe one state in words, such as "few images, low variance, margin 0.35"."""
    count_bin, variance_bin, margin = (int(part) for part in decode_state(state, grid))
    return (
        f"{_COUNT_WORDS[count_bin]} images, {_VARIANCE_WORDS[variance_bin]} variance, "
        f"margin {grid.values[margin]:g}"
    )


def _terciles(values: Float64s) -> tuple[float, float]:
    """Return the cuts of three equal bins; "lower" makes each cut a value that some class has."""
    low, high = np.quantile(values, (1 / 3, 2 / 3), method="lower")
    return float(low), float(high)


def _bins(values: Float64s, cuts: tuple[float, float]) -> Ints:
    bins: Ints = (values > cuts[0]).astype(np.int64) + (values > cuts[1])
    return bins


class GroupState:
    """Maps the classes of one training set to states, Fair Loss (Liu et al., ICCV 2019).

    The three factors and their sizes are the paper's; the cuts between bins are our choice, as the
    paper does not give them. A class on a cut belongs to the bin below: `bin = (x > cut0) +
    (x > cut1)`. So equal values always share a bin, and if more than a third of them are tied at
    the smallest value (say zero variance) then cut0 is that value and the tie stays together in
    bin 0. With `x >= cut` going up, the same tie would leave bin 0 empty. If more than two thirds
    are tied at the smallest value, both cuts are that value and bin 1 is empty.

    Args:
        counts: (C,) integers, images per class. 0 marks an empty class: it takes no part in any
            tercile, gets bin 0 and is for the caller to skip.
        grid: the margins.
        count_cuts: two ascending cuts in images, such as (18, 33) for CASIA-WebFace; by default the
            terciles over the non-empty classes.

    Attributes:
        counts: (C,) int64.
        count_cuts: the two cuts in use.
        count_bins: (C,) int64 in {0, 1, 2}, fixed for the run.

    Raises:
        ValueError: counts are not a vector of non-negative integers with one above zero, or
            count_cuts are not two ascending numbers.
    """

    def __init__(
        self,
        counts: npt.ArrayLike,
        grid: MarginGrid = DEFAULT_GRID,
        count_cuts: tuple[float, float] | None = None,
    ) -> None:
        given = np.asarray(counts)
        natural = given.ndim == 1 and given.dtype.kind in "iu" and (given >= 0).all()
        got = f"shape {given.shape} {given.dtype}"
        expect(natural, "counts", "a vector of non-negative integers", got)
        expect(given.any(), "counts", "at least one class with an image", "none")
        self.counts: Ints = given.astype(np.int64)
        self.grid = grid
        images = self.counts.astype(np.float64)
        if count_cuts is None:
            count_cuts = _terciles(images[images > 0])
        ascending = len(count_cuts) == 2 and count_cuts[0] <= count_cuts[1]
        expect(ascending, "count_cuts", "two ascending numbers", repr(count_cuts))
        self.count_cuts = count_cuts
        self.count_bins = _bins(images, count_cuts)

    @property
    def empty_count_bins(self) -> list[str]:
        """Names of the count bins without a class, as `describe` writes them."""
        bins = set(self.count_bins[self.counts > 0].tolist())
        return [word for number, word in enumerate(_COUNT_WORDS) if number not in bins]

    @property
    def unused_states(self) -> str:
        """The count bins without a class and what they leave unused, in words; "" if none."""
        empty = self.empty_count_bins
        if not empty:
            return ""
        unused = self.num_states * len(empty) // BINS
        low, high = self.count_cuts
        return (
            f"no class has {' or '.join(empty)} images by the cuts {low:g} and {high:g}, "
            f"so {unused} of {self.num_states} states are not used"
        )

    @property
    def num_states(self) -> int:
        """S = 9 M."""
        return num_states(self.grid)

    @property
    def legal(self) -> Bools:
        """(S, 3) bool."""
        return legal_actions(self.grid)

    def variance_bins(self, variance: npt.ArrayLike) -> Ints:
        """Return (C,) int64 bins of intra-class variance, cut at the terciles of this call.

        Relative cuts because the variance of all classes shrinks while training. A class with one
        image has no variance and NaN means the same: both count as 0, which puts them in bin 0
        together. Empty classes are left out of the terciles.

        Args:
            variance: (C,) mean of 1 - cosine to the class center, or any other spread.

        Raises:
            ValueError: the shape is not (C,), or a value is infinite.
        """
        given = np.asarray(variance, dtype=np.float64)
        check_shape("variance", given, *self.counts.shape)
        expect(not np.isinf(given).any(), "variance", "finite values or NaN", "an infinite value")
        undefined = np.isnan(given) | (self.counts <= 1)
        # Rounding leaves the variance of identical images at about -1e-8: the same tie at zero.
        spread: Float64s = np.where(undefined, 0.0, np.maximum(given, 0.0))
        return _bins(spread, _terciles(spread[self.counts > 0]))

    def encode(self, variance: npt.ArrayLike, margins: npt.ArrayLike) -> Ints:
        """Return (C,) int64 state ids, (count bin * 3 + variance bin) * M + margin index.

        Args:
            variance: (C,), see `variance_bins`.
            margins: (C,) margins on the grid.

        Raises:
            ValueError: a shape is not (C,), or a margin is not on the grid.
        """
        margin = self.grid.index(margins)
        check_shape("margins", margin, *self.counts.shape)
        group = self.count_bins * BINS + self.variance_bins(variance)
        return group * len(self.grid) + margin

    def decode(self, state: npt.ArrayLike) -> tuple[Ints, Ints, Ints]:
        """Return count bin, variance bin and margin index, the inverse of `encode`."""
        return decode_state(state, self.grid)

    def describe(self, state: int) -> str:
        """Describe one state in words, such as "few images, low variance, margin 0.35"."""
        return describe_state(state, self.grid)
