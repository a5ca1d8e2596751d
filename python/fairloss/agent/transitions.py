"""Transitions between states, the data that Q is learned from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import ACTIONS, as_indices, as_vector
from fairloss.checks import check_number, check_shape, expect
from fairloss.typing import Bools, Float64s, Ints


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
        self.reward = as_vector("reward", self.reward, n)
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
