"""Intervals and differences of MegaFace's numbers, against SciPy and by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import largest_share
from megaface_cases import random_challenge
from scipy import stats

from fairloss.evaluation import MegaFace, compare_megaface, evaluate_megaface


def challenge(rank, identity, score=0.5, distractors=1000):
    """A result of one probe for each trial and 20 recorded impostors."""
    trials = len(rank)
    return MegaFace(
        rank=np.asarray(rank, dtype=np.int64),
        score=np.full(trials, score, dtype=np.float32),
        identity=np.asarray(identity, dtype=np.int64),
        impostor=np.zeros(20, dtype=np.float32),
        probes=1000,
        distractors=distractors,
    )


def test_rank_10_agrees_with_scipy():
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(60), generator.integers(1, 6, 60))
    hard = generator.random(60)[identity]
    a, b = (
        challenge((generator.exponential(30, len(identity)) * hard), identity) for _ in range(2)
    )
    hits = [np.bincount(identity, each.rank < 10) for each in (a, b)]
    options = {"paired": True, "vectorized": True, "n_resamples": 4000, "method": "percentile"}
    sizes = np.bincount(identity).astype(float)
    alone = stats.bootstrap(
        (hits[1], sizes), lambda h, n, axis: h.sum(axis) / n.sum(axis), rng=0, **options
    ).confidence_interval
    both = stats.bootstrap(
        (*hits, sizes), lambda x, y, n, axis: (y - x).sum(axis) / n.sum(axis), rng=0, **options
    ).confidence_interval
    report = b.report(replicates=4000)
    assert report["rank_10"]["value"] == (b.rank < 10).mean() == b.recall()[9]
    difference = compare_megaface(a, b, replicates=4000)["difference"]
    for result, expected in ((report["rank_10"], alone), (difference["rank_10"], both)):
        width = expected.high - expected.low
        assert result["low"] == pytest.approx(expected.low, abs=0.06 * width)
        assert result["high"] == pytest.approx(expected.high, abs=0.06 * width)


def test_weights_and_interval_by_hand():
    # Identity 0 has three trials of ranks 0, 4 and 12, identity 1 has one of rank 20.
    result = challenge([0, 4, 12, 20], [0, 0, 0, 1])
    assert result.weighted(np.array([2.0, 2, 2, 1])) == {
        ("rank_1",): 2 / 7,
        ("rank_10",): 4 / 7,
        ("tar",): 1.0,
    }
    interval = result.report(replicates=400)["rank_10"]
    # draws: identity 0 twice 2/3, one of each 2/4, identity 1 twice 0
    assert (interval["value"], interval["bootstrap"]["low"]) == (0.5, 0.0)
    assert interval["bootstrap"]["high"] == pytest.approx(2 / 3)
    # without identity 0 the share is 0, without identity 1 it is 2/3; t has one degree of freedom
    error = np.sqrt((0.5**2 + (2 / 3 - 0.5) ** 2) / 2)
    assert interval["standard_error"] == pytest.approx(error)
    log_odds = stats.t.ppf(0.975, 1) * error / 0.25
    assert interval["high"] == pytest.approx(1 / (1 + np.exp(-log_odds)))
    few = compare_megaface(*(challenge([0, 1], [0, 1], distractors=9) for _ in "ab"), replicates=9)
    assert few["difference"]["tar"] == "not measurable with 9000 impostors"


def test_report_agrees_with_the_result():
    features, identities, rows = random_challenge(distractors=30_000)
    result = evaluate_megaface(features, identities, rows)
    report = result.report(replicates=50)
    assert json.loads(json.dumps(report)) == report
    assert report["rank_1"]["value"] == result.recall()[0]
    assert report["rank_1"]["low"] <= report["rank_1"]["value"] <= report["rank_1"]["high"]
    assert report["tar"]["value"] == result.tar_at(1e-6)
    few = evaluate_megaface(features, identities, rows[:10]).report(replicates=5)
    assert few["tar"] == "not measurable with 400 impostors"
    with pytest.raises(
        ValueError, match="identities: expected an identity with at least 2 images, got none"
    ):
        evaluate_megaface(features, np.arange(40), rows)


def test_comparison_is_the_difference_of_both():
    features, identities, rows = random_challenge(distractors=30_000)
    good = evaluate_megaface(features, identities, rows)
    noise = np.random.default_rng(1).normal(size=features.shape)
    poor = evaluate_megaface(features + 2 * noise, identities, rows)
    result = compare_megaface(poor, good, replicates=100)["difference"]
    gain = good.recall()[0] - poor.recall()[0]
    assert result["rank_1"]["value"] == pytest.approx(gain)
    assert result["tar"]["value"] == pytest.approx(good.tar_at() - poor.tar_at())
    half = challenge([0, 4, 12, 20], [0, 0, 1, 1])
    same = compare_megaface(half, half)["difference"]["rank_10"]
    assert same["value"] == 0
    assert -same["low"] == same["high"] == pytest.approx(largest_share(2, identities=2))
    with pytest.raises(ValueError, match="b: expected the same probes"):
        compare_megaface(good, evaluate_megaface(features, identities, rows[:10]))
