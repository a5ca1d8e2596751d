"""Variances of pairs and trials that share identities, against deletion and literal sums."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

from fairloss.evaluation import Pairs, all_pairs
from fairloss.evaluation.clusters import (
    Clusters,
    Influence,
    Observations,
    pair_clusters,
    trial_clusters,
)
from fairloss.evaluation.influence import RocInfluence, share_function, summary_influences
from fairloss.evaluation.roc import RocCorners


def test_variance_of_trials_is_the_jackknife_of_identities():
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(12), generator.integers(1, 7, 12))
    hits = generator.random(len(identity)) < generator.random(12)[identity]
    clusters = trial_clusters(identity)
    left = np.array([hits[identity != number].mean() for number in range(12)])
    expected = 11 / 12 * np.square(left - hits.mean()).sum()
    moments = clusters.moments(share_function(hits)(clusters))
    assert moments.variance == pytest.approx(expected)
    assert moments.identities == 12
    shares = np.bincount(identity) / len(identity)
    assert moments.effective == pytest.approx(1 / np.square(shares).sum())


def test_variance_is_the_sum_over_pairs_that_share_an_identity():
    generator = np.random.default_rng(0)
    first, second = generator.integers(400, size=(2, 500))
    second = np.where(np.arange(500) < 200, first, second)  # genuine pairs first
    ease = generator.normal(size=400)
    effects = ease[first] + ease[second] + 0.3 * generator.normal(size=500)
    effects -= effects.mean()
    share = (first[:, None] == first) | (first[:, None] == second)
    share |= (second[:, None] == first) | (second[:, None] == second)
    expected = effects @ share @ effects
    influence = Influence(0.5, effects, Observations(first == second))
    # deleting one of 400 identities leaves nearly all pairs
    variance = Clusters(first, second).moments(influence).variance
    assert variance == pytest.approx(expected, rel=0.05)
    alone = effects @ effects
    assert expected > 2 * alone


def test_rows_are_the_rest_left_out():
    generator = np.random.default_rng(1)
    pairs = all_pairs(np.repeat(np.arange(10), 3))
    clusters = pair_clusters(pairs, np.repeat(np.arange(10), 3))
    rows = np.flatnonzero(generator.random(len(pairs)) < 0.5)
    effects = generator.normal(size=len(rows))
    influence = Influence(0.5, effects, Observations(pairs.genuine[rows], rows))
    alone = Influence(0.5, effects, Observations(pairs.genuine[rows]))
    assert clusters.moments(influence) == pytest.approx(clusters.subset(rows).moments(alone))


def test_sparse_and_dense_numbers_of_identities_agree():
    generator = np.random.default_rng(2)
    first, second = generator.integers(20, size=(2, 300))
    influence = Influence(0.5, generator.normal(size=300), Observations(first == second))
    dense = Clusters(first, second).moments(influence)
    assert Clusters(997 * first, 997 * second).moments(influence) == pytest.approx(dense)


def test_effects_on_auc_are_its_derivatives_by_weights():
    generator = np.random.default_rng(3)
    identity = np.repeat(np.arange(6), 3)
    pairs = all_pairs(identity)
    scores = (generator.normal(size=len(pairs)) + pairs.genuine).round(1)  # with ties
    corners = RocCorners(scores, pairs.genuine)
    influence = RocInfluence(corners, pairs.genuine).auc(pair_clusters(pairs, identity))
    step = 1e-6
    for row in range(0, len(pairs), 7):
        weights = np.ones(len(pairs))
        weights[row] += step
        derivative = (corners.roc(weights).auc() - influence.value) / step
        assert influence.effects[row] == pytest.approx(derivative, abs=1e-6)
    assert influence.effects.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("errors", [False, True])
def test_effects_on_summaries_are_derivatives(errors):
    generator = np.random.default_rng(4)
    part = np.repeat(np.arange(3), 40)
    hits = generator.random(120) < np.array([0.4, 0.6, 0.7])[part]
    rows = [np.flatnonzero(part == number) for number in range(3)]
    functions = summary_influences([share_function(hits[r], r) for r in rows], 120, errors)
    clusters = trial_clusters(np.arange(120))

    def summary(weights):
        shares = np.array([np.average(hits[r], weights=weights[r]) for r in rows])
        error = shares if errors else 1 - shares
        return np.array([shares.mean(), shares.std(), error.max() / error.min()])

    influences = [function(clusters) for function in functions]
    assert [each.value for each in influences] == pytest.approx(summary(np.ones(120)))
    for row in range(0, 120, 11):
        weights = np.ones(120)
        weights[row] += 1e-6
        derivative = (summary(weights) - summary(np.ones(120))) / 1e-6
        assert [each.effects[row] for each in influences] == pytest.approx(derivative, abs=1e-5)


def test_genuine_pairs_of_two_identities_are_refused():
    zero, one = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    with pytest.raises(ValueError, match=r"pairs\.genuine: expected pairs of one identity, got 1"):
        pair_clusters(Pairs(zero, one, np.array([True])), [0, 1])
    with pytest.raises(ValueError, match="pairs: expected at least 2 identities, got 1"):
        pair_clusters(Pairs(zero, one, np.array([True])), [0, 0])


def test_observations_are_not_kept_once_their_number_is_done():
    clusters = trial_clusters(np.arange(10))
    observations = Observations(np.ones(10, dtype=np.bool_))
    influence = Influence(0.5, np.linspace(-1, 1, 10), observations)
    assert clusters.moments(influence) == clusters.moments(influence)
    kept = weakref.ref(observations)
    del influence, observations
    assert kept() is None
