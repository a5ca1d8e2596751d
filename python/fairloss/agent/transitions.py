"""Transitions between states and the reward of each, the data that Q is learned from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import ACTIONS, as_indices
from fairloss.checks import check_number, check_shape, expect
from fairloss.typing import Bools, Float64s, Ints

# Distances are angles of order 1 rad in float64 (rounding 1e-16) and the other spread tested is in
# units of a standard deviation: a spread under 1e-12 is rounding, not signal.
ROUNDING = 1e-12


@dataclass(eq=False)
class Transitions:
    """n transitions; each is one cell of classes that shared a state and took one action.

    The classes of a cell can land in different states, so a successor is a distribution: the
    fraction of the cell's classes in each next state (our choice, the paper gives no rule).

    Attributes:
        state: (n,) int64 in [0, S).
        action: (n,) int64, index into ACTIONS.
        reward: (n,) float64, best standardized so that 0 is the average.
        successor: (n, S) float64, rows non-negative and summing to 1.

    Raises:
        ValueError: n is 0, a shape disagrees, a value is out of range, or a row does not sum to 1.
    """

    state: Ints
    action: Ints
    reward: Float64s
    successor: Float64s

    def __post_init__(self) -> None:
        self.successor = np.asarray(self.successor, dtype=np.float64)
        matrix = self.successor.ndim == 2 and len(self.successor) > 0
        expect(matrix, "successor", "shape (n, S) with n > 0", self.successor.shape)
        n = len(self.successor)
        self.state = as_indices("state", self.state, self.num_states)
        self.action = as_indices("action", self.action, len(ACTIONS))
        self.reward = _vector("reward", self.reward, n)
        check_shape("state", self.state, n)
        check_shape("action", self.action, n)
        # 1e-6: fractions of up to 1e5 classes may come from float32.
        one = np.abs(self.successor.sum(axis=1) - 1) <= 1e-6
        valid = one.all() and (self.successor >= 0).all()
        expect(valid, "successor", "non-negative rows that sum to 1", "other rows")

    @property
    def num_states(self) -> int:
        """S."""
        return len(self.successor[0])

    def visits(self, num_states: int) -> Ints:
        """Return (S, 3) int64, the number of transitions of each (state, action) pair."""
        expect(num_states == self.num_states, "num_states", f"{self.num_states}", num_states)
        pair = self.state * len(ACTIONS) + self.action
        counts = np.bincount(pair, minlength=num_states * len(ACTIONS))
        return counts.reshape(num_states, len(ACTIONS)).astype(np.int64)

    def visited(self, legal: npt.ArrayLike) -> Bools:
        """Return (S, 3) bool, pairs with a transition; ValueError if one of them is not `legal`."""
        allowed = np.asarray(legal)
        shape = (self.num_states, len(ACTIONS))
        got = f"shape {allowed.shape} {allowed.dtype}"
        expect(
            allowed.shape == shape and allowed.dtype == np.bool_,
            "legal",
            f"shape {shape} bool",
            got,
        )
        seen: Bools = self.visits(self.num_states) > 0
        if (seen & ~allowed).any():
            state, action = np.argwhere(seen & ~allowed)[0]
            expect(False, "action", f"a legal one in state {state}", repr(ACTIONS[action]))
        return seen


def check_gamma(gamma: float) -> None:
    """Raise ValueError unless the discount is in [0, 1)."""
    check_number("gamma", gamma, 0, 1, open_high=True)


def standardized_reward(
    inter_before: npt.ArrayLike,
    inter_after: npt.ArrayLike,
    intra_before: npt.ArrayLike,
    intra_after: npt.ArrayLike,
    epoch: npt.ArrayLike,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Float64s:
    """Return (n,) float64 rewards with mean 0 in every epoch and standard deviation 1 over all.

    r = weights[0] * d_inter / std(d_inter) - weights[1] * d_intra / std(d_intra), with d = after -
    before; then minus the mean over the cells of the same epoch, then divided by its own std. That
    changes in the two distances make the reward is the paper's (Liu et al., ICCV 2019); the formula
    is our choice. The epoch mean removes the drift that comes from more training alone: without it
    any action looks good in a phase where everything improves.

    Args:
        inter_before: (n,) distance to the nearest other class, radians.
        inter_after: the same after the epoch.
        intra_before: (n,) distance to the own class center, radians; NaN where a cell has no such
            distance (one image a class), which counts as an average change.
        intra_after: the same after the epoch.
        epoch: (n,) label of the epoch a cell was measured in. Epochs of different chains need
            different labels.
        weights: of the inter- and the intra-class term.

    A term without spread is 0, and so is the reward if the epoch means explain all of it.

    Raises:
        ValueError: an input is empty, not finite, or of another length than the rest.
    """
    n = np.asarray(inter_before).size
    before, after = _vector("inter_before", inter_before, n), _vector("inter_after", inter_after, n)
    inter = _standardized(after - before)
    before = _vector("intra_before", intra_before, n, undefined=True)
    change = _vector("intra_after", intra_after, n, undefined=True) - before
    defined = ~np.isnan(change)
    intra = np.zeros(n)
    intra[defined] = _standardized(change[defined])
    label = np.asarray(epoch)
    expect(n > 0 and label.shape == (n,), "epoch", f"shape ({n},) with n > 0", label.shape)
    finite = len(weights) == 2 and np.isfinite(weights).all()
    expect(finite, "weights", "two finite numbers", repr(weights))
    reward = weights[0] * inter - weights[1] * intra
    _, group = np.unique(label, return_inverse=True)
    baseline = np.bincount(group, weights=reward) / np.bincount(group)
    return _standardized(reward - baseline[group])


def _standardized(values: Float64s) -> Float64s:
    """Return values of mean 0, population standard deviation 1; all 0 where there is no spread."""
    spread = values.std() if values.size else 0.0
    return (values - values.mean()) / spread if spread > ROUNDING else np.zeros_like(values)


def _vector(name: str, values: npt.ArrayLike, length: int, undefined: bool = False) -> Float64s:
    """Return (length,) float64, finite; with `undefined` NaN is allowed too."""
    array = np.asarray(values, dtype=np.float64)
    check_shape(name, array, length)
    wrong = np.isinf(array) if undefined else ~np.isfinite(array)
    if wrong.any():
        expect(False, name, "finite numbers", array[wrong][0])
    return array
