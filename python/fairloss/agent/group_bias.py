"""RL-RBN's environment: margins of whole groups, moved until no group is worse off than another.

Known of Wang & Deng (Mitigating Bias in Face Recognition using Skewness-Aware Reinforcement
Learning, CVPR 2020) is its abstract: adaptive margins for the groups other than one, a Markov
decision process, deep Q-learning, and an agent that reduces the skewness of feature scatter between
groups. All below that is our choice, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import DEFAULT_GRID, BoolArray, FloatArray, IntArray, MarginGrid
from fairloss.agent.policy import greedy_actions

BIASES = ("worse", "alike", "better")  # than the reference


@dataclass(frozen=True)
class GroupBias:
    """States of groups: group x bias to the reference group (3 bins) x margin.

    Our choices: a group's separation is the mean angle of its classes to their nearest other centre
    less that of their samples to their own; its bias is that less the reference's; three bins,
    "alike" within `tolerance`; the reference keeps its margin.

    Attributes:
        num_groups: G.
        reference: the group that others are compared with (in the paper: Caucasian).
        tolerance: radians, our choice.
        grid: the margins.
    """

    num_groups: int
    reference: int = 0
    tolerance: float = 0.02
    grid: MarginGrid = DEFAULT_GRID

    def __post_init__(self) -> None:
        if not 0 <= self.reference < self.num_groups:
            raise ValueError(
                f"reference: got {self.reference}, allowed is 0..{self.num_groups - 1}"
            )
        if not self.tolerance > 0:
            raise ValueError(f"tolerance: got {self.tolerance}, expected a positive number")

    @property
    def legal(self) -> BoolArray:
        """(S, 3) bool, S = G x 3 x M. States of the reference never occur."""
        return np.tile(self.grid.legal, (self.num_groups * len(BIASES), 1))

    @property
    def others(self) -> IntArray:
        """(G - 1,) the groups that move."""
        return np.delete(np.arange(self.num_groups), self.reference)

    def bias(self, separation: npt.ArrayLike) -> FloatArray:
        """(G,) radians by which each group is better separated than the reference."""
        given = np.asarray(separation, dtype=np.float64)
        if given.shape != (self.num_groups,) or not np.isfinite(given).all():
            raise ValueError(f"separation: expected ({self.num_groups},) numbers, got {given}")
        difference: FloatArray = given - given[self.reference]
        return difference

    def encode(self, separation: npt.ArrayLike, margins: npt.ArrayLike) -> IntArray:
        """(G,) state ids, (group * 3 + bias bin) * M + margin index."""
        bias = self.bias(separation)
        bins = 1 + (bias > self.tolerance).astype(np.int64) - (bias < -self.tolerance)
        group = np.arange(self.num_groups)
        return (group * len(BIASES) + bins) * len(self.grid) + self.grid.index(margins)


def skewness_reward(before: npt.ArrayLike, after: npt.ArrayLike) -> FloatArray:
    """``|bias before| - |bias after|`` in its standard deviations: what an action made fairer.

    That less skewness is the reward is the paper's, the formula our choice.
    """
    gain: FloatArray = np.abs(np.asarray(before)) - np.abs(np.asarray(after))
    spread = float(gain.std())
    return gain / spread if spread > 0 else gain


@dataclass(frozen=True, eq=False)
class GroupPolicy:
    """What to do with the margin of a group.

    Attributes:
        states: how groups are described.
        table: (S,) int64, index into ACTIONS.
    """

    states: GroupBias
    table: IntArray

    @classmethod
    def greedy(cls, q: npt.ArrayLike, visits: npt.ArrayLike, states: GroupBias) -> GroupPolicy:
        """The visited action with the largest Q, as `Policy.greedy`."""
        return cls(states, greedy_actions(q, visits))

    def apply(self, separation: npt.ArrayLike, margins: npt.ArrayLike) -> FloatArray:
        """(G,) margins after the policy's action; the reference keeps its own."""
        actions = self.table[self.states.encode(separation, margins)]
        grid = self.states.grid
        index = grid.index(margins)
        others = self.states.others
        index[others] = grid.step(index[others], actions[others])
        return np.asarray(grid.values)[index]
