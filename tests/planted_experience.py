"""Experience with planted changes."""

from __future__ import annotations

import numpy as np

from fairloss.agent import MarginGrid
from fairloss.agent.state import legal_actions
from fairloss.experience import Experience

GRID = MarginGrid()
LEGAL = legal_actions(GRID)


def experience(gain, chains=2, epochs=40, noise=0.5, branches=1, start_noise=0.0, seed=0):
    """Nine cells at random margins; `gain` maps (state, action) to the planted change."""
    random = np.random.default_rng(seed)
    starts = chains * epochs
    n = starts * branches * 9
    shape = (starts, branches, 9)
    group = np.broadcast_to(np.arange(9) * 4, shape).reshape(n)
    margin = np.broadcast_to(random.integers(0, 4, (starts, 1, 9)), shape).reshape(n)
    state = group + margin
    action = np.array([random.choice(np.flatnonzero(LEGAL[s])) for s in state])
    after = state + action - 1
    residual = noise * random.standard_normal(n)
    shared = np.broadcast_to(random.standard_normal((starts, 1, 9)), shape).reshape(n)
    zeros, missing = np.zeros(n), np.full(n, np.nan)
    epoch = np.tile(np.repeat(np.arange(epochs), branches * 9), chains) + 1
    return Experience(
        grid=np.array(GRID.values),
        state=state,
        action=action,
        successor=np.eye(36)[after],
        inter_before=zeros,
        inter_after=gain(state, action) + start_noise * shared + residual,
        intra_before=zeros,
        intra_after=zeros,
        classes=np.full(n, 5),
        epoch=epoch,
        seed=np.repeat(np.arange(chains), epochs * branches * 9),
        mean_action=missing,
        mean_margin=missing,
        branch=np.tile(np.repeat(np.arange(branches), 9), starts),
        dropped=0,
        min_cell=5,
        steps=10 * starts * branches,
        kind="arc",
        cost_steps=10 * starts * branches + (starts * branches + chains) * 10 / 3,
    )


def raising(state, action):
    return 0.6 * (action - 1.0)


def nothing(state, action):
    return np.zeros(len(state))
