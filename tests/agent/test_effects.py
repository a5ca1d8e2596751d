"""Worlds whose effects are planted, and whose best joint action is found by trying all rules."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from fairloss.agent import ACTIONS, EffectModel, MarginGrid, Policy, Transitions, fit_tabular
from fairloss.agent.reward import center_epochs
from fairloss.agent.state import legal_actions

GRID = MarginGrid()
LEGAL = legal_actions(GRID)
CELLS, START = 9, 2  # cell c is group c, all of them at margin 0.35 first
GROUP = np.arange(CELLS) * len(GRID)

# Own effects of the cells and the common one, of a step (or of a margin in use) up.
WORLDS = {
    "raising hurts all": (np.full(CELLS, 0.34), -0.60),
    "raising helps all": (np.full(CELLS, -0.20), 0.50),
    "raising helps one": (np.where(np.arange(CELLS) == 4, 0.90, 0.10), -0.30),
}


def change(world, before, after, level):
    """The world's formula: changes of all cells when margins (grid indices) move."""
    own_effects, common = WORLDS[world]
    signal = (after - START if level else after - before).astype(float)
    return own_effects * signal + common * signal.mean(axis=-1, keepdims=True)


def experience(world, seed, level=False, chains=1, epochs=45, noise=0.05, shared=0.05, drift=1.0):
    """Chains that take the least visited actions, as `collect` does, with drift and noise."""
    rows = []
    for chain in range(chains):
        random = np.random.default_rng([seed, chain])
        margins, visits = np.full(CELLS, START), np.zeros(LEGAL.shape, int)
        for epoch in range(epochs):
            states = GROUP + margins
            tried = np.where(LEGAL[states], visits[states], 10**6)
            least = tried == tried.min(axis=1, keepdims=True)
            action = np.where(least, random.random(least.shape), -1).argmax(axis=1)
            visits[states, action] += 1
            after = margins + action - 1
            changes = change(world, margins, after, level)
            changes = changes + drift * np.exp(-epoch / 20) + shared * random.standard_normal()
            changes = changes + noise * random.standard_normal(CELLS)
            means = (action - 1).mean(), np.asarray(GRID.values)[margins].mean()
            for row in zip(states, action, changes, GROUP + after, strict=True):
                rows.append((*row, chain, epoch, *means))
            margins = after
    names = ("state", "action", "changes", "after", "chain", "epoch", "action_mean", "margin_mean")
    return SimpleNamespace(**dict(zip(names, np.array(rows).T, strict=True)))


def model(data):
    return EffectModel(
        data.state.astype(int),
        data.action.astype(int),
        np.ones(len(data.state)),
        data.chain,
        data.epoch,
        data.action_mean,
        data.margin_mean,
        GRID,
    )


def tables(data):
    """The greedy tables of both rewards, and where two actions were tried."""
    label = data.chain * 1000 + data.epoch
    rewards = {
        "own_and_common": model(data).reward(data.changes),
        "paper": center_epochs(data.changes, label),
    }
    state, action = data.state.astype(int), data.action.astype(int)
    successor = np.eye(len(LEGAL))[data.after.astype(int)]
    result = {}
    for name, reward in rewards.items():
        transitions = Transitions(state, action, reward / reward.std(), successor)
        visits = transitions.visits(len(LEGAL))
        q = fit_tabular(transitions, LEGAL)
        result[name] = Policy.greedy(q, visits, GRID, {}).table
    return result, (visits > 0).sum(axis=1) > 1


def best_rule(world, level, epochs=10):
    """The best of all 3 ** 9 joint rules, one action for each cell, by the world's formula."""
    rules = np.array(list(product((-1, 0, 1), repeat=CELLS)))
    margins, total = np.full(rules.shape, START), np.zeros(len(rules))
    for _ in range(epochs):
        after = np.clip(margins + rules, 0, len(GRID) - 1)
        total += change(world, margins, after, level).mean(axis=1)
        margins = after
    ranked = np.sort(total)
    assert ranked[-1] > ranked[-2] + 1e-9  # one rule is best
    return rules[total.argmax()] + 1


def share_of_best(table, compared, rule):
    """Share of the compared states in which a table takes the rule's action, where it is legal."""
    expected = np.repeat(rule, len(GRID))
    expected = np.where(LEGAL[np.arange(len(LEGAL)), expected], expected, ACTIONS.index("keep"))
    return (table == expected)[compared].mean()


def shares(world, level, seeds=20, **settings):
    """Shares of best actions, (seeds,) for each reward."""
    rule = best_rule(world, level)
    result = {"own_and_common": [], "paper": []}
    for seed in range(seeds):
        fitted, compared = tables(experience(world, seed, level, **settings))
        for name, table in fitted.items():
            result[name].append(share_of_best(table, compared, rule))
    return {name: np.array(values) for name, values in result.items()}


def test_the_worlds_have_the_best_rules_that_they_are_named_for():
    lower, raised = ACTIONS.index("lower"), ACTIONS.index("raise")
    for level in (False, True):
        assert (best_rule("raising hurts all", level) == lower).all()
        assert (best_rule("raising helps all", level) == raised).all()
        expected = np.where(np.arange(CELLS) == 4, raised, lower)
        np.testing.assert_array_equal(best_rule("raising helps one", level), expected)


@pytest.mark.parametrize("world", WORLDS)
def test_own_and_common_takes_the_best_joint_action_in_every_state(world):
    result = shares(world, level=False)
    assert (result["own_and_common"] == 1).sum() >= 19
    assert (result["paper"] < 1).all()


def test_the_reward_of_the_paper_raises_where_raising_hurts_all():
    """Whatever all cells share is not in it."""
    raising = []
    for seed in range(5):
        fitted, _ = tables(experience("raising hurts all", seed, epochs=200, drift=0.0))
        table = fitted["paper"].reshape(-1, len(GRID))[:, :-1]
        raising.append((table == ACTIONS.index("raise")).mean())
    assert np.mean(raising) > 0.8


def test_effects_are_those_planted_where_margins_in_use_matter():
    """Not their change: then the mean margin before an epoch counts as well as its action."""
    for seed in range(3):
        effects = model(experience("raising hurts all", seed, level=True)).fit
        effects = effects(experience("raising hurts all", seed, level=True).changes)
        assert effects.own == pytest.approx(0.34, abs=4 * effects.own_error)
        assert effects.common == pytest.approx(-0.60, abs=4 * effects.common_error)
        assert effects.common_error < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("noise", [(0.05, 0.05), (0.2, 0.1)])
@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("world", WORLDS)
def test_three_chains_find_the_best_joint_action_in_harder_noise(world, level, noise):
    result = shares(world, level, chains=3, noise=noise[0], shared=noise[1])
    assert (result["own_and_common"] == 1).sum() >= 19


@pytest.mark.slow
def test_standard_errors_cover():
    """Within two standard errors of the truth in about 95% of 200 draws."""
    within = []
    for seed in range(200):
        data = experience("raising helps one", seed, noise=0.2, shared=0.2)
        effects = model(data).fit(data.changes)
        errors = effects.common + 0.30, effects.common_error
        within.append(abs(errors[0]) < 2 * errors[1])
    assert 0.90 <= np.mean(within) <= 0.995


def test_few_epochs_do_not_determine_the_common_effect():
    data = experience("raising hurts all", 0, epochs=5)
    effects = model(data).fit(data.changes)
    assert np.isnan(effects.common)
    with pytest.raises(ValueError, match="epoch: expected more epochs, .* got 5 epochs"):
        model(data).reward(data.changes)


def test_a_regression_by_hand():
    """Two cells of one group; classes weigh: the effects are exact where there is no noise."""
    random = np.random.default_rng(0)
    epochs, counts = 12, np.array([3.0, 1.0])
    moves = random.integers(-1, 2, (epochs, 2))
    mean = moves @ counts / counts.sum()
    level = 0.3 + 0.02 * np.cumsum(mean)
    steps = np.array([[0.5, 0.5], [-0.1, -0.1]])  # of cell 0 and of cell 1, below and above 0.25
    time = np.arange(epochs)
    shared = 2.0 * mean + 3.0 * level + 0.1 * time - 0.01 * time**2
    changes = moves * steps[:, 0] + np.array([0.0, 1.0]) + shared[:, None]
    both = [np.repeat(column, 2) for column in (time, mean, level)]
    state = np.tile([1, 5], epochs)
    args = (state, moves.ravel() + 1, np.tile(counts, epochs), np.zeros(2 * epochs), *both)
    effects = EffectModel(*args, GRID).fit(changes.ravel())
    np.testing.assert_allclose(effects.steps[:2, :2], steps, atol=1e-8)
    assert effects.common == pytest.approx(2.0)
    taken = np.abs(moves).sum(axis=0) * counts
    assert effects.own == pytest.approx(taken @ steps[:, 0] / taken.sum())
