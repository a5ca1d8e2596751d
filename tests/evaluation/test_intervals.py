"""Intervals of reports: quantiles, bounds, coverage, and agreement with the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import largest_share
from scipy import stats

from fairloss.evaluation import (
    Search,
    all_pairs,
    compare_pairs,
    crossed_mean,
    evaluate_groups,
    evaluate_ijb_identification,
    evaluate_pairs,
)
from fairloss.evaluation.clusters import Influence, Observations, pair_clusters, trial_clusters
from fairloss.evaluation.influence import RocInfluence, share_function
from fairloss.evaluation.intervals import (
    difference_interval,
    influence_interval,
    t_quantile,
)
from fairloss.evaluation.roc import RocCorners


@pytest.mark.parametrize("degrees", [*range(1, 12), 19, 49, 199, 5000])
@pytest.mark.parametrize("probability", [0.75, 0.95, 0.975, 0.025])
def test_t_quantiles_agree_with_scipy(degrees, probability):
    expected = stats.t.ppf(probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=2e-3)


def test_perfect_scores_of_ten_identities_are_not_certain():
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(10), 4)
    embeddings = np.eye(10)[identity] + 0.05 * generator.normal(size=(40, 10))
    report = evaluate_pairs(embeddings, identity)
    quantile = stats.t.ppf(0.975, 9)
    wilson = 10 / (10 + quantile**2)  # of ten of ten
    for interval in (report["auc"], report["tar"]["0.1"]):
        assert (interval["value"], interval["high"]) == (1.0, 1.0)
        assert interval["low"] == pytest.approx(wilson, rel=1e-3)
    assert report["eer"]["low"] == 0
    assert report["eer"]["high"] == pytest.approx(1 - wilson, rel=1e-3)
    difference = compare_pairs(embeddings, embeddings, identity)["difference"]["auc"]
    assert difference["low"] == pytest.approx(wilson - 1, rel=1e-3) == -difference["high"]


def test_intervals_lie_within_the_range_of_the_number():
    hits = np.arange(8) < 7
    clusters = trial_clusters(np.arange(8))
    interval = influence_interval(share_function(hits)(clusters), clusters)
    assert 0 < interval.low < interval.value < interval.high < 1
    none, every = (share_function(np.full(8, each))(clusters) for each in (False, True))
    gain = difference_interval(none, every, clusters)
    assert (gain.value, gain.high) == (1, 1)
    assert gain.low == pytest.approx(1 - 2 * largest_share(8, identities=8), rel=2e-3)
    assert influence_interval(none, clusters).low == 0 < influence_interval(none, clusters).high


def score_model(generator, pairs, identity, strong):
    """Scores with effects of identities and photos, of AUC 0.9615 or 0.9544."""
    genuine, impostor, photo, noise = (0.08, 0.04, 0.04, 0.08) if strong else (
        0.03, 0.015, 0.015, 0.121)  # fmt: skip
    ease, likeness = generator.normal(size=(2, identity.max() + 1))
    quality = generator.normal(size=len(identity))
    common = photo * (quality[pairs.first] + quality[pairs.second])
    common += noise * generator.normal(size=len(pairs))
    i, j = identity[pairs.first], identity[pairs.second]
    different = impostor * (likeness[i] + likeness[j])
    return np.where(pairs.genuine, 0.3 + genuine * ease[i], different) + common


@pytest.mark.parametrize(
    ("strong", "auc", "tar"), [(True, 0.9615, 0.8898), (False, 0.9544, 0.8663)]
)
def test_intervals_cover_under_strong_and_weak_identity_effects(strong, auc, tar):
    identity = np.repeat(np.arange(20), 4)
    pairs = all_pairs(identity)
    clusters = pair_clusters(pairs, identity)
    truth, ends = {"auc": auc, "tar": tar}, {"auc": [], "tar": []}
    for run in range(200):
        scores = score_model(np.random.default_rng(run), pairs, identity, strong)
        roc = RocInfluence(RocCorners(scores, pairs.genuine), pairs.genuine)
        for name, influence in (("auc", roc.auc(clusters)), ("tar", roc.tar_at(clusters, 0.1))):
            interval = influence_interval(influence, clusters)
            ends[name].append((interval.value, interval.low, interval.high))
    for name, drawn in ends.items():
        value, low, high = np.array(drawn).T
        assert 0.90 <= np.mean((low <= truth[name]) & (truth[name] <= high)) <= 0.99
        spread = np.subtract(*np.quantile(value, (0.975, 0.025)))
        assert (high - low).mean() < 1.35 * spread


def numbers_with_checks(report, keys=()):
    """Yield the keys and values of all intervals that the bootstrap checks."""
    for name, value in report.items():
        if isinstance(value, dict) and "bootstrap" in value:
            yield (*keys, name), value
        elif isinstance(value, dict):
            yield from numbers_with_checks(value, (*keys, name))


def assert_as_wide_as_the_bootstrap(report, numbers, low=0.6, high=1.6):
    checked = dict(numbers_with_checks(report))
    assert len(checked) == numbers
    for keys, interval in checked.items():
        width = interval["bootstrap"]["high"] - interval["bootstrap"]["low"]
        assert low < (interval["high"] - interval["low"]) / width < high, keys


def test_intervals_of_groups_are_as_wide_as_those_of_the_bootstrap():
    identity = np.repeat(np.arange(120), 4)
    pairs = all_pairs(identity)
    scores = score_model(np.random.default_rng(0), pairs, identity, strong=True)
    scores -= 0.1 * (pairs.genuine & (identity[pairs.first] < 60))
    options = {"far": 0.02, "replicates": 150}
    report = evaluate_groups(scores, pairs, identity, identity < 60, **options)
    for group in report["groups"].values():  # too few pairs for these
        del group["tar"]["0.001"], group["tar"]["0.0001"]
    assert_as_wide_as_the_bootstrap(report, numbers=15)


def test_intervals_of_searches_are_as_wide_as_those_of_the_bootstrap():
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(150), 4)
    ease = generator.normal(size=150)[identity]

    def search(mated):
        score = (2.5 + ease + generator.normal(size=600)).astype(np.float32)
        other = (ease + generator.normal(size=600)).astype(np.float32)
        rank = np.where(score > other, 0, generator.integers(1, 12, 600))
        missing = np.where(mated, score, np.nan).astype(np.float32)
        return Search(mated, np.where(mated, rank, -1), missing, other)

    searches = {"G1": search(identity < 75), "G2": search(identity >= 75)}
    report = evaluate_ijb_identification(searches, identity, replicates=300)
    del report["galleries"]["G1"]["tpir"]["0.01"], report["galleries"]["G2"]["tpir"]["0.01"]
    del report["mean"]["tpir"]["0.01"]  # three of 300 unmated probes
    assert_as_wide_as_the_bootstrap(report, numbers=12)


def test_intervals_of_several_networks_count_their_spread():
    # No method is better; networks differ, and so do identities to all networks alike.
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(40), 3)
    clusters = trial_clusters(identity)
    covered, alone = 0, 0
    for _ in range(200):
        ease = generator.normal(size=40)[identity]
        level = generator.normal(0.5, 0.3, size=(2, 4, 1))
        hits = ease + level + generator.normal(size=(2, 4, 120)) > 0
        a, b = ([share_function(hit)(clusters) for hit in side] for side in hits)
        crossed = difference_interval(a, b, clusters)
        single = difference_interval(a[0], b[0], clusters)
        covered += crossed.low <= 0 <= crossed.high
        alone += single.low <= 0 <= single.high
    assert crossed.value == pytest.approx(hits[1].mean() - hits[0].mean())
    assert 0.91 <= covered / 200 <= 0.99
    assert alone / 200 < 0.85  # of the two checkpoints, not of the methods


def test_two_networks_against_ten_cover_nine_in_ten():
    generator = np.random.default_rng(7)
    clusters = trial_clusters(np.arange(120))
    covered = 0
    for _ in range(300):
        ease, level = generator.normal(size=120), generator.normal(0.5, 0.3, size=(12, 1))
        hits = ease + level + generator.normal(size=(12, 120)) > 0
        networks = [share_function(hit)(clusters) for hit in hits]
        interval = difference_interval(networks[:2], networks[2:], clusters)
        covered += interval.low <= 0 <= interval.high
    assert 0.86 <= covered / 300 <= 0.95


@pytest.mark.parametrize("level", [0.0, 0.1, 0.5])
def test_variance_of_networks_is_that_of_a_table_of_networks_and_identities(level):
    generator = np.random.default_rng(1)
    shift, ease = level * generator.normal(size=(5, 1)), generator.normal(size=30)
    hits = ease + shift + 0.7 * generator.normal(size=(5, 30)) > 0
    clusters = trial_clusters(np.arange(30))
    none = share_function(np.zeros(30, dtype=np.bool_))(clusters)
    networks = [share_function(row)(clusters) for row in hits]
    table, interval = crossed_mean(hits), difference_interval(none, networks, clusters)
    assert interval.value == pytest.approx(table.value)
    assert interval.standard_error == pytest.approx(table.variance**0.5)
    width = stats.t.ppf(0.975, int(table.degrees_of_freedom + 1e-9)) * table.variance**0.5
    assert interval.high - interval.value == pytest.approx(width, rel=2e-3)


def test_perfect_scores_of_several_networks_are_not_certain():
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(10), 4)
    embeddings = np.eye(10)[identity] + 0.05 * generator.normal(size=(4, 40, 10))
    several = compare_pairs(embeddings[:2], embeddings[2:], identity)["difference"]
    single = compare_pairs(embeddings[0], embeddings[2], identity)["difference"]
    for keys in ("auc", "eer"):
        assert several[keys] == single[keys]
        assert several[keys]["low"] < 0 < several[keys]["high"]


def networks_of(values, effects, variance=0.0):
    """Influences of networks on a share of 60 trials."""
    observations = Observations(np.ones(60, dtype=np.bool_))
    return [
        Influence(value, each - each.mean(), observations, variance=variance)
        for value, each in zip(values, effects, strict=True)
    ]


def test_networks_with_the_same_hits_are_not_certain_to_be_equal():
    hits = np.arange(200) % 20 > 0
    clusters = trial_clusters(np.arange(200) // 4)
    a, b = (share_function(hits)(clusters) for _ in range(2))
    interval = difference_interval(a, b, clusters)
    assert interval.value == interval.standard_error == 0
    share = largest_share(50, identities=50)
    assert -interval.low == interval.high == pytest.approx(share, rel=2e-3)
    assert difference_interval([a, a], [b, b], clusters) == interval


@pytest.mark.parametrize("share", [1 / 50, 3 / 50])
def test_intervals_of_nearly_equal_models_cover(share):
    # b is wrong where a is right on few identities, in some of the draws on none
    generator = np.random.default_rng(0)
    clusters = trial_clusters(np.arange(50))
    covered = 0
    for _ in range(300):
        right = generator.random(50) < 0.9
        both = right & (generator.random(50) >= share)
        a, b = (share_function(hits)(clusters) for hits in (right, both))
        interval = difference_interval(a, b, clusters)
        covered += interval.low <= -0.9 * share <= interval.high
    assert covered / 300 >= 0.93


def test_degrees_of_freedom_are_those_of_the_side_that_varies():
    effects = 1e-6 * np.random.default_rng(0).normal(size=(12, 60))
    clusters = trial_clusters(np.arange(60))
    two, ten = (0.4, 0.5), np.full(10, 0.6)
    a, b = networks_of(two, effects[:2]), networks_of(ten, effects[2:])
    interval = difference_interval(a, b, clusters)
    assert interval.standard_error == pytest.approx(np.std(two, ddof=1) / np.sqrt(2), rel=1e-3)
    width = stats.t.ppf(0.975, 1) * interval.standard_error
    assert interval.high - interval.value == pytest.approx(width)


def test_variance_of_thresholds_is_within_that_of_the_networks():
    generator = np.random.default_rng(0)
    effects = 1e-5 * generator.normal(size=(4, 60)) + 0.005 * generator.normal(size=60)
    effects[2:] *= 2  # what identities do to the difference, beside what networks do
    clusters = trial_clusters(np.arange(60))
    errors = [
        difference_interval(
            networks_of((0.4, 0.5), effects[:2], variance),
            networks_of((0.6, 0.65), effects[2:], variance),
            clusters,
        ).standard_error
        for variance in (0.0, 1e-3)
    ]
    assert errors[0] == pytest.approx(errors[1])
