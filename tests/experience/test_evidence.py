from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from planted_experience import GRID, LEGAL, experience, nothing, raising

from fairloss.agent import ACTIONS, Policy
from fairloss.experience.evidence import _permuter, doubts, evidence, reduced, rows


def policy(data, table=None):
    visits = data.transitions().visits(36)
    table = Policy.constant("raise").table if table is None else table
    return Policy(GRID, table, np.where(visits > 0, 0.0, np.nan), visits, {})


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


def test_the_noise_of_a_start_that_branches_share_hides_nothing():
    """The noise of a cell is the same in all branches, and many times the effect."""
    branched = {"epochs": 12, "branches": 4, "chains": 1, "start_noise": 5.0}
    real, noise = experience(raising, **branched), experience(nothing, **branched)
    seen = evidence(real, policy(real), "own_and_common", 0.9, (1.0, 1.0))
    assert seen["permutation"]["p"] < 0.03
    spread = real.inter_after.std()  # the unit of the effects
    error = seen["effects"]["own_error"]
    assert seen["effects"]["own"] == pytest.approx(0.6 / spread, abs=4 * error)
    assert error < 0.1 / spread
    unseen = evidence(noise, policy(noise), "own_and_common", 0.9, (1.0, 1.0))
    assert unseen["permutation"]["p"] > 0.05
    apart = replace(real, epoch=real.epoch * 4 + real.branch, branch=0 * real.branch)
    hidden = evidence(apart, policy(apart), "own_and_common", 0.9, (1.0, 1.0))
    assert hidden["effects"]["own_error"] > 3 * error


def test_a_permutation_leaves_each_cell_of_a_start_its_mean_over_the_branches():
    data = experience(raising, epochs=5, branches=3, start_noise=2.0)
    changes = data.changes()
    permuted = _permuter(data, changes)()
    assert np.abs(permuted - changes).max() > 0.1
    by_cell = [values.reshape(2 * 5, 3, 9).mean(axis=1) for values in (permuted, changes)]
    np.testing.assert_allclose(*by_cell, atol=1e-10)


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
