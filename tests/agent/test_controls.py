"""Random and shuffled policies, which learned ones are compared with."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fairloss.agent import GroupState, MarginGrid, Policy
from fairloss.agent.state import legal_actions


def tables(seed, epochs):
    policy = Policy.random(seed)
    for _ in range(epochs):
        yield policy.table
        policy = policy.next_epoch()


def test_a_random_policy_is_uniform_over_the_legal_actions_of_every_state():
    drawn = np.stack(list(tables(0, 400)))
    legal = legal_actions(MarginGrid())
    for action in range(3):
        share = (drawn == action).mean(axis=0)
        expected = legal[:, action] / legal.sum(axis=1)
        assert np.abs(share - expected).max() < 5 * 0.5 / 400**0.5  # five standard errors
    repeated = (drawn[1:] == drawn[:-1]).mean(axis=0)  # epochs are independent
    assert np.abs(repeated - 1 / legal.sum(axis=1)).max() < 5 * 0.5 / 400**0.5


def test_a_random_table_follows_from_seed_and_epoch_alone(tmp_path):
    policy = Policy.random(3)
    for epoch in range(3):
        assert policy.redraw == (3, epoch)
        np.testing.assert_array_equal(policy.table, Policy.random(3, epoch=epoch).table)
        policy.save(tmp_path / "policy.json")
        for copy in (Policy.load(tmp_path / "policy.json"), pickle.loads(pickle.dumps(policy))):
            assert copy.redraw == policy.redraw
            np.testing.assert_array_equal(copy.next_epoch().table, policy.next_epoch().table)
        policy = policy.next_epoch()
    assert (Policy.random(4).table != Policy.random(3).table).any()
    constant = Policy.constant("raise")
    assert constant.next_epoch() is constant


def test_a_shuffled_policy_has_the_actions_of_every_margin_in_other_cells():
    table = np.tile([[2, 2, 1, 1], [1, 0, 0, 0], [1, 2, 0, 1]], (3, 1))
    learned = replace_table(table)
    shuffled = learned.shuffled(1).table.reshape(9, 4)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(table, axis=0))
    assert (shuffled != table).any(axis=0).all()
    np.testing.assert_array_equal(learned.shuffled(1).table, learned.shuffled(1).table)
    assert (learned.shuffled(2).table != learned.shuffled(1).table).any()
    assert learned.shuffled(1).provenance["kind"] == "cos"
    assert learned.shuffled(1).provenance["cost_steps"] == 7.5
    assert {
        Policy.constant("keep").provenance["cost_steps"],
        Policy.random(1).provenance["cost_steps"],
    } == {0}
    raised = Policy.constant("raise")
    np.testing.assert_array_equal(raised.shuffled(5).table, raised.table)


def test_the_cells_of_a_shuffled_policy_are_no_longer_those_of_the_counts():
    """A table that looks at the count alone: after many shuffles every count is treated alike."""
    learned = replace_table(np.repeat([[2, 2, 2, 1], [1, 1, 1, 1], [1, 0, 0, 0]], 3, axis=0))
    state = GroupState([1, 2, 3]).count_bins
    assert state.tolist() == [0, 1, 2]
    moves = np.mean([learned.shuffled(seed).table.reshape(3, 3, 4) for seed in range(600)], axis=0)
    assert np.abs(moves[..., 1:3] - 1).max() < 5 * (2 / 3 / 600) ** 0.5


def test_a_random_policy_is_not_shuffled_and_seeds_are_checked():
    with pytest.raises(ValueError, match="policy: expected one whose table stays, got a random"):
        Policy.random(0).shuffled(1)
    for make in (Policy.random, Policy.constant("keep").shuffled):
        with pytest.raises(ValueError, match="seed: expected an integer of at least 0, got -1"):
            make(-1)


def replace_table(table):
    keep = Policy.constant("keep")
    return Policy(
        keep.grid, table.reshape(-1), keep.q, keep.visits, {"kind": "cos", "cost_steps": 7.5}
    )
