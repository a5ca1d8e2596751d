"""What the agent learns from: transitions between states, and the reward of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import ACTIONS, BoolArray, FloatArray, IntArray, as_indices

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
        reward: (n,) float64, best standardised so that 0 is the average.
        successor: (n, S) float64, rows non-negative and summing to 1.

    Raises:
        ValueError: n is 0, a shape disagrees, a value is out of range, or a row does not sum to 1.
    """

    state: IntArray
    action: IntArray
    reward: FloatArray
    successor: FloatArray

    def __post_init__(self) -> None:
        self.successor = np.asarray(self.successor, dtype=np.float64)
        if self.successor.ndim != 2 or len(self.successor) == 0:
            raise ValueError(f"successor must be (n, S) with n > 0, got {self.successor.shape}")
        n = len(self.successor)
        self.state = as_indices("state", self.state, self.num_states)
        self.action = as_indices("action", self.action, len(ACTIONS))
        self.reward = _vector("reward", self.reward, n)
        for name, array in (("state", self.state), ("action", self.action)):
            if array.shape != (n,):
                raise ValueError(f"{name} must have shape ({n},), got {array.shape}")
        # 1e-6: fractions of up to 1e5 classes may come from float32.
        one = np.abs(self.successor.sum(axis=1) - 1) <= 1e-6
        if not one.all() or (self.successor < 0).any():
            raise ValueError("successor rows must be non-negative and sum to 1")

    @property
    def num_states(self) -> int:
        """S."""
        return len(self.successor[0])

    def visits(self, num_states: int) -> IntArray:
        """(S, 3) int64: how many transitions each (state, action) pair has."""
        if num_states != self.num_states:
            raise ValueError(f"num_states must be {self.num_states}, got {num_states}")
        pair = self.state * len(ACTIONS) + self.action
        counts = np.bincount(pair, minlength=num_states * len(ACTIONS))
        return counts.reshape(num_states, len(ACTIONS)).astype(np.int64)

    def visited(self, legal: npt.ArrayLike) -> BoolArray:
        """(S, 3) bool, pairs with a transition; ValueError if one of them is not `legal`."""
        allowed = np.asarray(legal)
        shape = (self.num_states, len(ACTIONS))
        if allowed.shape != shape or allowed.dtype != np.bool_:
            raise ValueError(f"legal must be bool {shape}, got {allowed.dtype} {allowed.shape}")
        seen: BoolArray = self.visits(self.num_states) > 0
        if (seen & ~allowed).any():
            state, action = np.argwhere(seen & ~allowed)[0]
            raise ValueError(f"action {ACTIONS[action]!r} is taken in state {state}: not legal")
        return seen


def check_gamma(gamma: float) -> None:
    """ValueError unless the discount is in [0, 1)."""
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must be in [0, 1), got {gamma}")


def standardised_reward(
    inter_before: npt.ArrayLike,
    inter_after: npt.ArrayLike,
    intra_before: npt.ArrayLike,
    intra_after: npt.ArrayLike,
    epoch: npt.ArrayLike,
    weights: tuple[float, float] = (1.0, 1.0),
) -> FloatArray:
    """(n,) float64 rewards with mean 0 in every epoch and standard deviation 1 over all.

    r = weights[0] * d_inter / std(d_inter) - weights[1] * d_intra / std(d_intra), with d = after -
    before; then minus the mean over the cells of the same epoch, then divided by its own std. That
    changes in the two distances make the reward is the paper's (Liu et al., ICCV 2019); the formula
    is our choice. The epoch mean removes the drift that comes from more training alone: without it
    any action looks good in a phase where everything improves.

    Args:
        inter_before, inter_after: (n,) distance to the nearest other class, radians.
        intra_before, intra_after: (n,) distance to the own class centre, radians; NaN where a cell
            has no such distance (one image a class), which counts as an average change.
        epoch: (n,) label of the epoch a cell was measured in. Epochs of different chains need
            different labels.
        weights: of the inter- and the intra-class term.

    A term without spread is 0, and so is the reward if the epoch means explain all of it.

    Raises:
        ValueError: an input is empty, not finite, or of another length than the rest.
    """
    n = np.asarray(inter_before).size
    before, after = _vector("inter_before", inter_before, n), _vector("inter_after", inter_after, n)
    inter = _standardised(after - before)
    before = _vector("intra_before", intra_before, n, undefined=True)
    change = _vector("intra_after", intra_after, n, undefined=True) - before
    known = ~np.isnan(change)
    intra = np.zeros(n)
    intra[known] = _standardised(change[known])
    label = np.asarray(epoch)
    if n == 0 or label.shape != (n,):
        raise ValueError(f"epoch must have shape ({n},) with n > 0, got {label.shape}")
    if len(weights) != 2 or not np.isfinite(weights).all():
        raise ValueError(f"weights must be two finite numbers, got {weights!r}")
    reward = weights[0] * inter - weights[1] * intra
    _, group = np.unique(label, return_inverse=True)
    baseline = np.bincount(group, weights=reward) / np.bincount(group)
    return _standardised(reward - baseline[group])


def _standardised(values: FloatArray) -> FloatArray:
    """Mean 0, population standard deviation 1; all 0 where there is no spread."""
    spread = values.std() if values.size else 0.0
    return (values - values.mean()) / spread if spread > ROUNDING else np.zeros_like(values)


def _vector(name: str, values: npt.ArrayLike, length: int, undefined: bool = False) -> FloatArray:
    """(length,) float64, finite; with `undefined` NaN is allowed too."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {array.shape}")
    wrong = np.isinf(array) if undefined else ~np.isfinite(array)
    if wrong.any():
        raise ValueError(f"{name} must be finite, got {array[wrong][0]}")
    return array
