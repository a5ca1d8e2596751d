"""The environment of RL-RBN: margins of whole groups, moved to reduce the bias between groups.

Known of Wang & Deng (Mitigating Bias in Face Recognition using Skewness-Aware Reinforcement
Learning, CVPR 2020) is its abstract: adaptive margins for the groups other than one, a Markov
decision process, deep Q-learning, and an agent that reduces the skewness of feature scatter between
groups. All below that is our choice, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import DEFAULT_GRID, MarginGrid
from fairloss.agent.policy import greedy_actions
from fairloss.agent.reward import ROUNDING
from fairloss.checks import check_positive, expect
from fairloss.typing import Bools, Float64s, Ints

BIASES = ("worse", "alike", "better")  # than the reference


@dataclass(frozen=True)
class GroupBias:
    """States of groups: group x bias to the reference group (3 bins) x margin.

    Our choices: a group's separation is the mean angle of its classes to their nearest other center
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
        valid = 0 <= self.reference < self.num_groups
        expect(valid, "reference", f"0 to {self.num_groups - 1}", self.reference)
        check_positive("tolerance", self.tolerance)

    @property
    def legal(self) -> Bools:
        """(S, 3) bool, S = G x 3 x M. States of the reference never occur."""
        return np.tile(self.grid.legal, (self.num_groups * len(BIASES), 1))

    @property
    def others(self) -> Ints:
        """(G - 1,) the groups that move."""
        return np.delete(np.arange(self.num_groups), self.reference)

    def bias(self, separation: npt.ArrayLike) -> Float64s:
        """Return the (G,) radians by which each group is better separated than the reference."""
        given = np.asarray(separation, dtype=np.float64)
        finite = given.shape == (self.num_groups,) and np.isfinite(given).all()
        expect(finite, "separation", f"({self.num_groups},) finite numbers", given)
        difference: Float64s = given - given[self.reference]
        return difference

    def encode(self, separation: npt.ArrayLike, margins: npt.ArrayLike) -> Ints:
        """Return (G,) state ids, (group * 3 + bias bin) * M + margin index."""
        bias = self.bias(separation)
        bins = 1 + (bias > self.tolerance).astype(np.int64) - (bias < -self.tolerance)
        group = np.arange(self.num_groups)
        return (group * len(BIASES) + bins) * len(self.grid) + self.grid.index(margins)


def skewness_reward(before: npt.ArrayLike, after: npt.ArrayLike) -> Float64s:
    """Return ``|bias before| - |bias after|`` in units of its standard deviation.

    That less skewness is the reward is the paper's, the formula our choice. 0 without spread.
    """
    gain: Float64s = np.abs(np.asarray(before)) - np.abs(np.asarray(after))
    spread = float(gain.std())
    return gain / spread if spread > ROUNDING else np.zeros_like(gain)


@dataclass(frozen=True, eq=False)
class GroupPolicy:
    """One action for each state of a group.

    Attributes:
        states: the states of groups.
        table: (S,) int64, index into ACTIONS.
    """

    states: GroupBias
    table: Ints

    @classmethod
    def greedy(cls, q: npt.ArrayLike, visits: npt.ArrayLike, states: GroupBias) -> GroupPolicy:
        """Return the policy of the visited actions with the largest Q, as `Policy.greedy`."""
        return cls(states, greedy_actions(q, visits))

    def apply(self, separation: npt.ArrayLike, margins: npt.ArrayLike) -> Float64s:
        """Return (G,) margins after the policy's action; the reference keeps its own."""
        actions = self.table[self.states.encode(separation, margins)]
        grid = self.states.grid
        index = grid.index(margins)
        others = self.states.others
        index[others] = grid.step(index[others], actions[others])
        return np.asarray(grid.values)[index]
