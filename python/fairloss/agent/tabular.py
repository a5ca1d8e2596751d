"""The exact Q-table of a fixed set of transitions."""

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import ACTIONS
from fairloss.agent.transitions import Transitions, check_gamma
from fairloss.typing import Float64s


def fit_tabular(transitions: Transitions, legal: npt.ArrayLike, gamma: float = 0.9) -> Float64s:
    """Return (S, 3) float64, the fixed point of fitted-Q iteration (Ernst et al., JMLR 2005).

    Q(s, a) = mean over the transitions of (s, a) of r + gamma * successor . V, with V(s) = max over
    the visited actions of Q(s, .). V = 0, the average of standardized rewards, in a state without
    a visited action; Q of an unvisited pair is NaN. Solved by policy iteration: a linear system
    per round, a handful of rounds, no stopping tolerance.

    Args:
        transitions: the data.
        legal: (S, 3) bool.
        gamma: discount in [0, 1).

    Raises:
        ValueError: gamma is outside [0, 1), or an action taken is not legal.
    """
    check_gamma(gamma)
    visited = transitions.visited(legal)
    reward, successor = _pair_means(transitions)
    states = np.arange(len(reward))
    q, total = reward, -np.inf
    while True:
        policy = np.where(visited, q, -np.inf).argmax(axis=1)
        # An unvisited state has a zero row and no reward here, hence V = 0.
        system = np.eye(len(reward)) - gamma * successor[states, policy]
        value = np.linalg.solve(system, reward[states, policy])
        # Every round raises V until it is optimal; comparing sums cannot cycle between ties.
        if value.sum() <= total:
            return np.where(visited, q, np.nan)
        q, total = reward + gamma * successor @ value, value.sum()


def _pair_means(transitions: Transitions) -> tuple[Float64s, Float64s]:
    """Return mean reward (S, 3) and mean successor (S, 3, S) of each pair, 0 where unvisited."""
    size = transitions.num_states
    pair = (transitions.state, transitions.action)
    reward = np.zeros((size, len(ACTIONS)))
    successor = np.zeros((size, len(ACTIONS), size))
    np.add.at(reward, pair, transitions.reward)
    np.add.at(successor, pair, transitions.successor)
    visits = np.maximum(transitions.visits(size), 1)
    return reward / visits, successor / visits[..., None]
