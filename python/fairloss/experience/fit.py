"""From experience to a policy: deep Q-learning, checked against the exact solution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fairloss.agent import Policy, fit_dqn, fit_tabular
from fairloss.agent.states import legal_actions
from fairloss.experience.experience import Experience, FloatArray
from fairloss.progress import Progress

# Half a tenth of the rewards' standard deviation: below that two actions count as equally good.
TOLERANCE = 0.05


class Fit(NamedTuple):
    """A policy and how far deep Q-learning was from the exact solution."""

    policy: Policy
    largest_gap: float  # largest |Q - exact Q| of a visited pair
    disagreements: int  # states whose greedy actions differ by more than TOLERANCE in exact Q


def fit_policy(
    experience: Experience,
    *,
    gamma: float = 0.9,
    seed: int = 0,
    weights: tuple[float, float] = (1.0, 1.0),
    progress: Progress | None = None,
) -> Fit:
    """The greedy policy of deep Q-learning on standardised rewards.

    Only 90 pairs exist, so the exact fitted-Q solution is computed as well and the two are
    compared.

    Args:
        experience: from `collect`.
        gamma: discount per epoch; 0.9 is our choice.
        seed: of the Q-network.
        weights: of the inter- and the intra-class term of the reward.

    Raises:
        ValueError: no transitions, an argument out of range, or a Q-network that did not settle.
    """
    if len(experience) == 0:
        raise ValueError(
            f"experience: no transitions, {experience.dropped} cells had fewer than "
            f"{experience.min_cell} classes; collect again with a smaller min_cell"
        )
    grid = experience.margin_grid()
    legal = legal_actions(grid)
    transitions = experience.transitions(weights)
    visits = transitions.visits(len(legal))
    report = None if progress is None else (lambda done, total: progress("fit Q", done, total))
    learnt = fit_dqn(transitions, legal, gamma, seed=seed, progress=report)
    exact = fit_tabular(transitions, legal, gamma)
    provenance = {
        "method": "deep Q-learning on chain experience",
        "transitions": len(experience),
        "dropped_cells": experience.dropped,
        "min_cell": experience.min_cell,
        "steps": experience.steps,
        "kind": experience.kind,
        "gamma": gamma,
        "weights": list(weights),
        "seed": seed,
    }
    policy = Policy.greedy(learnt, visits, grid, provenance)
    gap, disagreements = _compare(policy.table, learnt, exact)
    if gap > 1:
        raise ValueError(
            f"gamma: the Q-network did not settle at {gamma} (off by {gap:.2g} standard deviations "
            "of the reward); a smaller gamma does"
        )
    return Fit(policy, gap, disagreements)


def _compare(
    table: np.ndarray[tuple[int], np.dtype[np.int64]], learnt: FloatArray, exact: FloatArray
) -> tuple[float, int]:
    gap = float(np.nanmax(np.abs(learnt - exact)))
    disagreements = 0
    for state in np.flatnonzero(~np.isnan(exact).all(axis=1)):
        best = np.nanmax(exact[state])
        disagreements += bool(best - exact[state, table[state]] > TOLERANCE)
    return gap, disagreements
