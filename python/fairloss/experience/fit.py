"""From experience to a policy: deep Q-learning, checked against the exact solution."""

import math
from typing import Any, NamedTuple

import numpy as np

from fairloss.agent import Policy, Transitions, fit_dqn, fit_tabular
from fairloss.agent.state import legal_actions
from fairloss.experience.evidence import evidence
from fairloss.experience.experience import Experience
from fairloss.progress import Progress, labeled
from fairloss.typing import Float64s, Ints

# In standard deviations of the reward: two actions whose Q differs by less count as equal.
TOLERANCE = 0.05


class Fit(NamedTuple):
    """A policy and the distance of deep Q-learning from the exact solution."""

    policy: Policy
    largest_gap: float  # largest |Q - exact Q| of a visited pair
    disagreements: int  # states whose greedy actions differ by more than TOLERANCE in exact Q


def fit_policy(
    experience: Experience,
    *,
    gamma: float = 0.9,
    seed: int = 0,
    weights: tuple[float, float] = (1.0, 1.0),
    reward: str = "own_and_common",
    progress: Progress | None = None,
) -> Fit:
    """Return the greedy policy of deep Q-learning, with the evidence for it in its provenance.

    Only 90 pairs exist, so the exact fitted-Q solution is computed as well and the two are
    compared.

    The default reward is not the paper's, which cannot see what all cells share: where raising
    helps its own cell and costs all of them more, it raises. That it trains better networks has
    not been shown.

    Args:
        experience: from `collect`.
        gamma: discount per epoch; 0.9 is our choice.
        seed: of the Q-network.
        weights: of the inter- and the intra-class term of the reward.
        reward: "own_and_common" or "paper", see `Experience.rewards`.
        progress: called as progress(label, done, total).

    Raises:
        ValueError: no transitions, an argument out of range, a Q-network that did not settle, or
            too few epochs for the common effect.
    """
    if len(experience) == 0:
        raise ValueError(
            f"experience: expected transitions, got none; {experience.dropped} cells had fewer "
            f"than {experience.min_cell} classes, collect again with a smaller min_cell"
        )
    grid = experience.margin_grid()
    legal = legal_actions(grid)
    transitions = _transitions(experience, weights, reward)
    visits = transitions.visits(len(legal))
    learned = fit_dqn(transitions, legal, gamma, seed=seed, progress=labeled(progress, "fit Q"))
    exact = fit_tabular(transitions, legal, gamma)
    provenance: dict[str, Any] = {
        "method": "deep Q-learning on chain experience",
        "transitions": len(experience),
        "dropped_cells": experience.dropped,
        "min_cell": experience.min_cell,
        "steps": experience.steps,
        "cost_steps": total_cost(experience),
        "kind": experience.kind,
        "gamma": gamma,
        "weights": list(weights),
        "reward": reward,
        "seed": seed,
    }
    policy = Policy.greedy(learned, visits, grid, provenance)
    gap, disagreements = _compare(policy.table, learned, exact)
    if gap > 1:
        raise ValueError(
            f"gamma: expected one at which the Q-network converges, got {gamma} (Q differs from "
            f"the exact one by {gap:.2g} standard deviations of the reward); try a smaller one"
        )
    measured = evidence(experience, policy, reward, gamma, weights)
    measured["exact"] = {"largest_gap": gap, "disagreements": disagreements}
    provenance["evidence"] = measured
    return Fit(policy, gap, disagreements)


def total_cost(experience: Experience) -> float | None:
    """Return the cost in steps of experience and the run it started from, None where unknown."""
    cost = experience.cost_steps + experience.pretraining_steps
    return None if math.isnan(cost) else cost


def _transitions(experience: Experience, weights: tuple[float, float], reward: str) -> Transitions:
    try:
        return experience.transitions(weights, reward)
    except ValueError as error:
        if reward == "paper" or not str(error).startswith("epoch:"):
            raise
        raise ValueError(f"experience.{error}; collect more, or take reward=paper") from error


def _compare(table: Ints, learned: Float64s, exact: Float64s) -> tuple[float, int]:
    gap = float(np.nanmax(np.abs(learned - exact)))
    disagreements = 0
    for state in np.flatnonzero(~np.isnan(exact).all(axis=1)):
        best = np.nanmax(exact[state])
        disagreements += bool(best - exact[state, table[state]] > TOLERANCE)
    return gap, disagreements
