from __future__ import annotations

import json

import numpy as np
import pytest

from fairloss.agent import ACTIONS, MarginGrid, Policy
from fairloss.agent.state import legal_actions
from fairloss.experience import Experience
from fairloss.experience.evidence import doubts, evidence, reduced, rows

GRID = MarginGrid()
LEGAL = legal_actions(GRID)


def experience(gain, chains=2, epochs=40, noise=0.5):
    """Nine cells at random margins; `gain` maps (state, action) to the planted change."""
    random = np.random.default_rng(0)
    n = chains * epochs * 9
    state = np.tile(np.arange(9), chains * epochs) * 4 + random.integers(0, 4, n)
    action = np.array([random.choice(np.flatnonzero(LEGAL[s])) for s in state])
    after = state + action - 1
    zeros, missing = np.zeros(n), np.full(n, np.nan)
    return Experience(
        grid=np.array(GRID.values),
        state=state,
        action=action,
        successor=np.eye(36)[after],
        inter_before=zeros,
        inter_after=gain(state, action) + noise * random.standard_normal(n),
        intra_before=zeros,
        intra_after=zeros,
        classes=np.full(n, 5),
        epoch=np.tile(np.repeat(np.arange(epochs), 9), chains) + 1,
        seed=np.repeat(np.arange(chains), epochs * 9),
        mean_action=missing,
        mean_margin=missing,
        branch=np.zeros(n, np.int64),
        dropped=0,
        min_cell=5,
        steps=10,
        kind="arc",
    )


def policy(data, table=None):
    visits = data.transitions().visits(36)
    table = Policy.constant("raise").table if table is None else table
    return Policy(GRID, table, np.where(visits > 0, 0.0, np.nan), visits, {})


def raising(state, action):
    return 0.6 * (action - 1.0)


def nothing(state, action):
    return np.zeros(len(state))


@pytest.mark.parametrize("reward", ["paper", "own_and_common"])
def test_an_effect_is_seen_and_noise_is_not(reward):
    real, noise = experience(raising), experience(nothing)
    seen = evidence(real, policy(real), reward, 0.9, (1.0, 1.0))
    assert seen["permutation"]["p"] == 1 / 200
    assert seen["chains"]["agreement"] > seen["chains"]["chance"] + 0.1
    assert seen["chains"]["correlation"] > 0.2
    unseen = evidence(noise, policy(noise), reward, 0.9, (1.0, 1.0))
    assert unseen["permutation"]["p"] > 0.05
    assert any("permuted changes" in reason for reason in doubts(unseen))
    assert json.loads(json.dumps(unseen)) == unseen


@pytest.mark.parametrize("reward", ["paper", "own_and_common"])
def test_effects_of_states_do_not_hide_an_effect_of_actions(reward):
    of_state = np.random.default_rng(1).normal(scale=3, size=36)
    p = {}
    for gain in (raising, nothing):
        data = experience(lambda s, a, gain=gain: of_state[s] + gain(s, a))
        p[gain] = evidence(data, policy(data), reward, 0.9, (1.0, 1.0))["permutation"]["p"]
    assert p[raising] == 1 / 200
    assert 0.05 < p[nothing] < 0.95


def test_visits_and_chance_are_counted():
    data = experience(raising, chains=3)
    measured = evidence(data, policy(data), "paper", 0.0, (1.0, 1.0))
    visits = np.zeros((36, 3), int)
    np.add.at(visits, (data.state, data.action), 1)
    counts = visits[LEGAL]
    assert measured["visits"] == {
        "legal_pairs": 90,
        "smallest": counts.min(),
        "few": (counts < 3).sum(),
        "threshold": 3,
    }
    # All pairs are visited by each chain: 18 states have two actions, 18 have three.
    assert counts.min() > 0
    assert measured["chains"]["chance"] == pytest.approx((18 / 2 + 18 / 3) / 36, abs=0.02)
    assert measured["chains"]["count"] == 3


def test_one_chain_has_no_agreement():
    data = experience(raising, chains=1)
    measured = evidence(data, policy(data), "paper", 0.9, (1.0, 1.0))
    assert measured["chains"]["agreement"] is None
    exact = {"exact": {"largest_gap": 0.0, "disagreements": 0}}
    assert ("agreement of chains", "not measurable with 1 chain") in rows(measured | exact)


def test_tables_are_reduced_to_words():
    data = experience(raising)
    margin = np.arange(36) % 4
    assert reduced(policy(data)) == "always raise"
    assert reduced(policy(data, Policy.constant("keep").table)) == "always keep"
    by_margin = np.array([2, 2, 1, 0])[margin]
    expected = "raise at 0.15, raise at 0.25, keep at 0.35, lower at 0.45"
    assert reduced(policy(data, by_margin)) == expected
    mixed = by_margin.copy()
    mixed[1] = ACTIONS.index("keep")
    expected = "no simple rule: lower in 9, keep in 10, raise in 17 of 36 states"
    assert reduced(policy(data, mixed)) == expected
    unvisited = Policy.constant("raise")
    assert reduced(unvisited) == "no state in which two actions were tried"


def test_means_that_a_file_lacks_are_those_of_its_cells():
    data = experience(raising, chains=1, epochs=3)
    first = data.epoch == 1
    np.testing.assert_allclose(data.mean_action[first], (data.action[first] - 1).mean())
    margins = np.array(GRID.values)[data.state[first] % 4]
    np.testing.assert_allclose(data.mean_margin[first], margins.mean())


@pytest.mark.parametrize("measured", [3, {}, {"reward": 1}])
def test_evidence_of_another_kind_is_refused(measured):
    with pytest.raises(ValueError, match="evidence: expected that of fit-policy"):
        rows(measured)
