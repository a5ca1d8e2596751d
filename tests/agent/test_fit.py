from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from fairloss.agent import (
    GroupState,
    MarginGrid,
    Policy,
    QNetwork,
    Transitions,
    fit_dqn,
    fit_tabular,
    standardized_reward,
)

GRID = MarginGrid()
LEGAL = GroupState([1, 2, 3]).legal
ALL_PAIRS = np.argwhere(LEGAL)


def random_transitions(n: int, seed: int) -> Transitions:
    generator = np.random.default_rng(seed)
    pairs = ALL_PAIRS[generator.integers(len(ALL_PAIRS), size=n)]
    successor = generator.dirichlet(np.full(36, 0.1), n)
    return Transitions(pairs[:, 0], pairs[:, 1], generator.standard_normal(n), successor)


def chain() -> Transitions:
    """Raising costs 1 on every grid step; at the top, keeping pays 2; elsewhere it pays 0."""
    state = np.array([0, 0, 1, 1, 2, 2, 3])
    action = np.array([1, 2, 1, 2, 1, 2, 1])
    reward = np.array([0.0, -1.0, 0.0, -1.0, 0.0, -1.0, 2.0])
    return Transitions(state, action, reward, np.eye(36)[state + action - 1])


def identity() -> tuple[Transitions, np.ndarray]:
    """Every legal pair once; one known action per state pays 1 and nothing leads anywhere."""
    generator = np.random.default_rng(7)
    best = np.array([generator.choice(np.flatnonzero(row)) for row in LEGAL])
    state, action = ALL_PAIRS.T
    reward = (action == best[state]).astype(float)
    return Transitions(state, action, reward, np.full((90, 36), 1 / 36)), best


def value_iteration(data: Transitions, gamma: float) -> np.ndarray:
    """The definition, literally: one average per visited pair, repeated until nothing moves."""
    q = np.full((data.num_states, 3), np.nan)
    pairs = np.unique(np.stack([data.state, data.action], axis=1), axis=0)
    rows = [(data.state == s) & (data.action == a) for s, a in pairs]
    means = [(data.reward[r].mean(), data.successor[r].mean(axis=0)) for r in rows]
    value = np.zeros(data.num_states)
    while True:
        for (s, a), (reward, successor) in zip(pairs, means, strict=True):
            q[s, a] = reward + gamma * successor @ value
        update = np.where(np.isnan(q), -np.inf, q).max(axis=1)
        update[np.isinf(update)] = 0.0
        if np.abs(update - value).max() < 1e-11:
            return q
        value = update


def assert_same_greedy(q: np.ndarray, exact: np.ndarray, gap: float) -> None:
    """Equal best actions wherever the exact runner-up is more than `gap` behind."""
    ranked = np.sort(np.where(np.isnan(exact), -1e9, exact), axis=1)
    clear = (ranked[:, -1] > -1e9) & (ranked[:, -1] - ranked[:, -2] > gap)
    assert clear.sum() > 5
    np.testing.assert_array_equal(np.nanargmax(q[clear], 1), np.nanargmax(exact[clear], 1))


def test_tabular_solves_an_mdp_done_by_hand():
    # State 1 keeps for 3: V1 = 3 / (1 - 0.5) = 6. In state 0 "lower" has two transitions, mean
    # reward 3 and half a chance each: V0 = 3 + 0.5 (V0 / 2 + 6 / 2) = 6; keep = 1 + 3; raise = 3.
    successor = np.eye(2)[[0, 1, 0, 1, 1]]
    data = Transitions(
        np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 2, 1]), np.array([2.0, 4, 1, 0, 3]), successor
    )
    q = fit_tabular(data, np.ones((2, 3), bool), gamma=0.5)
    np.testing.assert_allclose(q, [[6, 4, 3], [np.nan, 6, np.nan]], atol=1e-12)


def test_state_without_visits_is_worth_zero():
    data = Transitions(np.array([0]), np.array([1]), np.array([-2.0]), np.array([[0.5, 0.5]]))
    q = fit_tabular(data, np.ones((2, 3), bool), gamma=0.5)
    assert q[0, 1] == pytest.approx(-2 / (1 - 0.25))  # only the half that stays counts
    assert np.isnan(np.delete(q.ravel(), 1)).all()


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("n", [50, 150])
def test_tabular_equals_value_iteration(n, gamma):
    data = random_transitions(n, seed=n)
    np.testing.assert_allclose(
        fit_tabular(data, LEGAL, gamma), value_iteration(data, gamma), atol=1e-9
    )


def test_tabular_ends_on_ties():
    state, action = ALL_PAIRS.T
    data = Transitions(state, action, np.full(90, 0.1), np.full((90, 36), 1 / 36))
    np.testing.assert_allclose(fit_tabular(data, LEGAL, 0.999)[LEGAL], 100.0, rtol=1e-9)


def test_chain_needs_foresight():
    far = fit_tabular(chain(), LEGAL, gamma=0.9)
    # V(top) = 2 / 0.1 = 20, and one step back each costs 1: 17, 14.3, 11.87.
    np.testing.assert_allclose(far[[0, 1, 2], 2], [11.87, 14.3, 17.0])
    assert far[3, 1] == pytest.approx(20.0)
    near = fit_tabular(chain(), LEGAL, gamma=0.0)
    for q, action in ((far, 2), (near, 1)):
        table = Policy.greedy(q, chain().visits(36), GRID, {}).table
        np.testing.assert_array_equal(table[:4], [action, action, action, 1])


@pytest.mark.parametrize(("gamma", "action"), [(0.0, 1), (0.9, 2)])
def test_dqn_solves_the_chain(gamma, action):
    q = fit_dqn(chain(), LEGAL, gamma, steps=1000)
    np.testing.assert_allclose(q, fit_tabular(chain(), LEGAL, gamma), atol=0.05)
    table = Policy.greedy(q, chain().visits(36), GRID, {}).table
    np.testing.assert_array_equal(table[:4], [action, action, action, 1])


@pytest.mark.parametrize("fit", [fit_tabular, lambda *a: fit_dqn(*a, steps=500)])
def test_identity_environment(fit):
    data, best = identity()
    policy = Policy.greedy(fit(data, LEGAL, 0.5), data.visits(36), GRID, {})
    np.testing.assert_array_equal(policy.table, best)


@pytest.mark.parametrize(("n", "gamma"), [(600, 0.9), (50, 0.99)])
def test_dqn_agrees_with_tabular(n, gamma):
    data = random_transitions(n, seed=1)
    exact, q = fit_tabular(data, LEGAL, gamma), fit_dqn(data, LEGAL, gamma)
    np.testing.assert_allclose(q, exact, atol=0.01)
    assert_same_greedy(q, exact, gap=0.05)


def test_dqn_in_batches_comes_close():
    data = random_transitions(90, seed=2)
    exact = fit_tabular(data, LEGAL, 0.5)
    q = fit_dqn(data, LEGAL, 0.5, steps=1000, batch_size=32)
    np.testing.assert_allclose(q, exact, atol=0.25)
    assert_same_greedy(q, exact, gap=0.5)


@pytest.mark.parametrize("fit", [fit_tabular, lambda *a: fit_dqn(*a, steps=5)])
def test_unvisited_states_keep(fit):
    data = Transitions(np.array([5]), np.array([2]), np.array([-1.0]), np.full((1, 36), 1 / 36))
    q = fit(data, LEGAL, 0.9)
    assert np.isfinite(q).sum() == 1
    table = Policy.greedy(q, data.visits(36), GRID, {}).table
    assert table[5] == 2  # the only thing known, however bad
    assert (np.delete(table, 5) == 1).all()


def test_dqn_leaves_the_global_generator_alone_and_follows_its_seed():
    data = random_transitions(20, seed=3)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = fit_dqn(data, LEGAL, steps=20, batch_size=4, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    np.testing.assert_array_equal(fit_dqn(data, LEGAL, steps=20, batch_size=4, seed=5), first)
    assert not np.array_equal(
        fit_dqn(data, LEGAL, steps=20, batch_size=4, seed=6), first, equal_nan=True
    )


def test_dqn_reports_progress():
    calls: list[tuple[int, int]] = []
    fit_dqn(random_transitions(5, 0), LEGAL, steps=3, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_network_shape():
    network = QNetwork(36)
    assert network(torch.arange(36)).shape == (36, 3)
    widths = [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
    assert widths == [(64, 36), (64, 64), (3, 64)]


@pytest.mark.parametrize("fit", [fit_tabular, fit_dqn])
def test_fits_reject_bad_input(fit):
    data = random_transitions(5, 0)
    for gamma in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="gamma"):
            fit(data, LEGAL, gamma)
    with pytest.raises(ValueError, match=r"legal: expected shape .* bool"):
        fit(data, LEGAL[:4], 0.9)
    lowered = Transitions(np.array([0]), np.array([0]), np.array([1.0]), np.eye(36)[:1])
    with pytest.raises(ValueError, match="action: expected a legal one in state 0, got 'lower'"):
        fit(lowered, LEGAL, 0.9)


@pytest.mark.parametrize("name", ["steps", "learning_rate", "target_every", "batch_size"])
def test_dqn_rejects_numbers_that_are_not_positive(name):
    with pytest.raises(ValueError, match=name):
        fit_dqn(random_transitions(5, 0), LEGAL, **{name: 0})


def test_visits():
    data = Transitions(np.array([0, 0, 2]), np.array([1, 1, 0]), np.zeros(3), np.eye(3)[[0, 1, 2]])
    np.testing.assert_array_equal(data.visits(3), [[0, 2, 0], [0, 0, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match="num_states"):
        data.visits(36)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": np.array([0, 3])}, "state"),
        ({"state": np.array([0.0, 1.0])}, "state"),
        ({"state": np.array([0])}, "state"),
        ({"action": np.array([0, 3])}, "action"),
        ({"reward": np.array([0.0, np.nan])}, "reward"),
        ({"reward": np.zeros(3)}, "reward"),
        ({"successor": np.full((2, 3), 0.3)}, "successor"),
        ({"successor": np.array([[2.0, -1, 0], [1, 0, 0]])}, "successor"),
        ({"successor": np.full((2, 3), np.nan)}, "successor"),
        ({"successor": np.zeros((0, 3))}, "successor"),
    ],
)
def test_transitions_reject(change, message):
    good = {
        "state": np.array([0, 1]),
        "action": np.array([0, 1]),
        "reward": np.zeros(2),
        "successor": np.eye(3)[:2],
    }
    Transitions(**good)
    with pytest.raises(ValueError, match=message):
        Transitions(**{**good, **change})


def test_reward_by_hand():
    # d_inter = 1, -1, 1, -1 (std 1) and d_intra = 0, 0, 2, 2 (std 1): with z-scores
    # inter - intra = 2, 0, 0, -2; epoch means 1 and -1 leave 1, -1, 1, -1, of std 1.
    inter = np.array([2.0, 0.0, 2.0, 0.0])
    intra = np.array([0.0, 0.0, 2.0, 2.0])
    reward = standardized_reward(np.ones(4), inter, np.zeros(4), intra, [0, 0, 1, 1])
    np.testing.assert_allclose(reward, [1, -1, 1, -1], atol=1e-12)
    # In one epoch the intra-class term counts, three times: 4, 2, -2, -4 over sqrt(10).
    reward = standardized_reward(
        np.ones(4), inter, np.zeros(4), intra, np.zeros(4), weights=(1.0, 3.0)
    )
    np.testing.assert_allclose(reward, np.array([4, 2, -2, -4]) / np.sqrt(10), atol=1e-12)


def test_reward_is_standardized_and_centered_in_every_epoch():
    generator = np.random.default_rng(0)
    epoch = generator.integers(0, 6, 200)
    drift = 10.0 * epoch  # whatever all cells of an epoch share must not matter
    before = generator.random((2, 200))
    change = generator.standard_normal((2, 200)) + drift
    reward = standardized_reward(
        before[0], before[0] + change[0], before[1], before[1] + change[1], epoch
    )
    assert reward.std() == pytest.approx(1.0)
    for label in range(6):
        assert reward[epoch == label].mean() == pytest.approx(0.0, abs=1e-12)


def test_reward_without_spread_is_zero():
    start = np.array([0.1, 0.7, 0.3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Equal changes, but not equal floats.
        flat = standardized_reward(start, start + 0.1, start, start + 0.2, np.zeros(3))
        np.testing.assert_array_equal(flat, 0.0)
        # One cell per epoch: the baseline explains everything.
        alone = standardized_reward(start, start[::-1], start, start, np.arange(3))
        np.testing.assert_array_equal(alone, 0.0)
        # A flat intra-class term leaves the other alone.
        one = standardized_reward(start, start * 2, start, start + 0.1, np.zeros(3))
        np.testing.assert_allclose(one, (start - start.mean()) / start.std())


@pytest.mark.parametrize("position", range(4))
def test_reward_rejects_what_is_not_finite_by_name(position):
    inputs = [np.zeros(3) for _ in range(4)]
    inputs[position][1] = np.nan if position < 2 else np.inf
    name = ("inter_before", "inter_after", "intra_before", "intra_after")[position]
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers"):
        standardized_reward(*inputs, np.zeros(3))


def test_a_cell_without_spread_is_judged_by_the_inter_class_term_alone():
    """One image a class: its intra-class distance is undefined, not a change of 0."""
    before, flat = np.zeros(4), np.zeros(4)
    inter = np.array([1.0, -1.0, 1.0, -1.0])
    intra = np.array([-3.0, -1.0, -2.0, np.nan])  # all others shrink by 2 on average
    reward = standardized_reward(before, inter, before, intra, flat)
    raw = inter - np.array([-1.0, 1.0, 0.0, 0.0]) * np.sqrt(3 / 2)  # (x + 2) / std of the three
    np.testing.assert_allclose(reward, (raw - raw.mean()) / raw.std())


def test_reward_rejects_shapes_and_weights():
    three = np.zeros(3)
    with pytest.raises(ValueError, match="intra_before"):
        standardized_reward(three, three, np.zeros(2), three, three)
    with pytest.raises(ValueError, match="epoch"):
        standardized_reward(three, three, three, three, np.zeros(2))
    with pytest.raises(ValueError, match="epoch"):
        standardized_reward([], [], [], [], [])
    with pytest.raises(ValueError, match="weights"):
        standardized_reward(three, three, three, three, three, weights=(1.0, np.nan))
