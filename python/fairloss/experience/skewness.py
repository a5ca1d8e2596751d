"""Experience with margins of groups (RL-RBN), and the policy learned from it.

The environment is any function from the (G,) margins of an epoch to the (G,) separation measured
after it: `GroupEpochs` trains a network. `fairloss.agent.group_bias` states what the paper gives
and what is our choice; the chain and its choice of actions are those of `collect`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from fairloss.agent import GroupBias, GroupPolicy, Transitions, fit_dqn, skewness_reward
from fairloss.checks import check_integer, check_integers, check_shape, expect
from fairloss.experience.layout import least_visited
from fairloss.heads import CosineHead
from fairloss.training import Trainer
from fairloss.typing import Float64s, Ints
from fairloss_ext import ClassStatistics

Environment = Callable[[Float64s], Float64s]


def group_separation(statistics: ClassStatistics, groups: npt.ArrayLike) -> Float64s:
    """Return (G,) radians: mean angle to the nearest other center minus that to the own center.

    Args:
        statistics: of C classes. Those without images are left out, and of those with one image
            the second angle, which is 0 by definition.
        groups: (C,) group of each class, 0..G-1.

    Raises:
        ValueError: groups of another length, or one without a class of two images.
    """
    group, count = np.asarray(groups), statistics.count.numpy()
    check_shape("groups", group, *count.shape)
    each = range(int(group.max()) + 1)
    for g in each:
        several = (count[group == g] > 1).any()
        expect(several, "groups", "a class of two images in every group", f"none in group {g}")
    inter = np.where(count > 0, statistics.inter_angle.double().numpy(), np.nan)
    intra = np.where(count > 1, statistics.intra_angle.double().numpy(), np.nan)
    return np.array([np.nanmean(inter[group == g]) - np.nanmean(intra[group == g]) for g in each])


class GroupEpochs:
    """An environment that trains: one more epoch with the given margins, then measures.

    Args:
        trainer: with a `CosineHead` of (C,) margins.
        groups: (C,) group of each class.
        learning_rate: of every epoch.
    """

    def __init__(self, trainer: Trainer, groups: npt.ArrayLike, learning_rate: float) -> None:
        if not isinstance(trainer.head, CosineHead) or trainer.head.margins.dim() != 1:
            raise ValueError("trainer: expected a CosineHead with (C,) margins, got another head")
        self.trainer, self.head, self.epoch = trainer, trainer.head, 0
        self.groups: Ints = check_integers("groups", groups)
        check_shape("groups", self.groups, *self.head.margins.shape)
        self.learning_rate = learning_rate

    def __call__(self, margins: Float64s) -> Float64s:
        """Train with (G,) margins and return the (G,) separation."""
        self.epoch += 1
        self.head.margins.copy_(torch.as_tensor(margins[self.groups]))
        self.trainer.run_epoch(self.epoch, self.learning_rate)
        return group_separation(self.trainer.statistics(), self.groups)


def collect_skewness(
    environment: Environment, states: GroupBias, start: npt.ArrayLike, epochs: int, seed: int = 0
) -> Transitions:
    """Run a chain: each epoch every group but the reference takes its least visited legal action.

    The first epoch, with the `start` margins (G,), only measures the first state.

    Raises:
        ValueError: no epoch, or no group beside the reference.
    """
    check_integer("epochs", epochs)
    expect(len(states.others), "states", "at least two groups", "one")
    random = np.random.default_rng(seed)
    legal, grid = states.legal, np.asarray(states.grid.values)
    visits = np.zeros(legal.shape, np.int64)
    margins = np.array(start, dtype=np.float64)
    separation = environment(margins)
    rows: list[tuple[int, int, int]] = []
    biases: list[tuple[float, float]] = []
    for _ in range(epochs):
        before, bias = states.encode(separation, margins), states.bias(separation)
        actions = {}
        for group in states.others.tolist():
            state = before[group]
            actions[group] = least_visited(legal[state], visits[state], random)
            visits[state, actions[group]] += 1
            index = states.grid.step(states.grid.index(margins[group]), actions[group])
            margins[group] = grid[index]
        separation = environment(margins)
        after, new_bias = states.encode(separation, margins), states.bias(separation)
        for group, action in actions.items():
            rows.append((before[group], action, after[group]))
            biases.append((bias[group], new_bias[group]))
    state, action, successor = np.array(rows).T
    reward = skewness_reward(*np.array(biases).T)
    return Transitions(state, action, reward, np.eye(len(legal))[successor])


def fit_group_policy(
    transitions: Transitions, states: GroupBias, *, gamma: float = 0.9, seed: int = 0
) -> GroupPolicy:
    """Return the greedy policy of deep Q-learning; "keep" in states without a visit."""
    q = fit_dqn(transitions, states.legal, gamma, seed=seed)
    return GroupPolicy.greedy(q, transitions.visits(len(states.legal)), states)
