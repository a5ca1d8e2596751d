"""The identity-clustered bootstrap, against SciPy and literal duplication."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from fairloss.evaluation import (
    Pairs,
    Roc,
    SortedScores,
    all_pairs,
    cluster_mean,
    identity_bootstrap,
    identity_weights,
    pair_scores,
    paired_difference,
    roc_intervals,
    verification,
)


def clustered(identities=12, photos=3, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(identities), photos)
    centers = generator.normal(size=(identities, 8))
    return centers[labels] + noise * generator.normal(size=(len(labels), 8)), labels


def duplicate_identities(embeddings, labels, multiplicity):
    """Return samples and identities after copying each identity as often as drawn."""
    rows, copies = [], []
    for identity, count in enumerate(multiplicity):
        for copy in range(count):
            members = np.flatnonzero(labels == identity)
            rows.append(members)
            copies.append(np.full(len(members), 1000 * identity + copy))
    return embeddings[np.concatenate(rows)], np.concatenate(copies)


def test_weights_equal_literal_duplication():
    embeddings, labels = clustered()
    pairs = all_pairs(labels)
    scores = pair_scores(embeddings, pairs)
    ranked = SortedScores(scores, pairs.genuine)
    generator = np.random.default_rng(5)
    for weights in identity_weights(pairs, labels, replicates=20, seed=5):
        multiplicity = np.bincount(generator.integers(12, size=12), minlength=12)
        copied, copy_of = duplicate_identities(embeddings, labels, multiplicity)
        copied_pairs = all_pairs(copy_of)
        same_original = copy_of[copied_pairs.first] // 1000 == copy_of[copied_pairs.second] // 1000
        compared = copied_pairs.genuine | ~same_original  # copies of one identity are not compared
        copied_scores = pair_scores(copied, copied_pairs)[compared]
        genuine = copied_pairs.genuine[compared]
        assert weights[pairs.genuine].sum() == genuine.sum()
        assert weights[~pairs.genuine].sum() == (~genuine).sum()
        interval = ranked.roc(weights)
        assert interval.auc() == pytest.approx(roc_auc_score(genuine, copied_scores))
        expected = verification(copied_scores, genuine, far=(0.1, 0.02))
        assert interval.tar_at(0.1) == pytest.approx(expected.tar[0.1])
        assert interval.tar_at(0.02) == pytest.approx(expected.tar[0.02])


def test_mean_over_one_pair_per_identity_agrees_with_scipy():
    # Each identity has one genuine pair, so drawing identities is drawing genuine scores.
    labels = np.repeat(np.arange(40), 2)
    pairs = all_pairs(labels)
    scores = np.random.default_rng(0).normal(size=len(pairs))
    genuine = scores[pairs.genuine]
    interval = identity_bootstrap(
        lambda w: float(np.average(genuine, weights=w[pairs.genuine])),
        pairs,
        labels,
        replicates=4000,
    )
    expected = stats.bootstrap(
        (genuine,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert interval.value == pytest.approx(genuine.mean())
    assert interval.low == pytest.approx(expected.low, abs=0.05 * width)
    assert interval.high == pytest.approx(expected.high, abs=0.05 * width)


def test_clustered_interval_is_wider_where_scores_follow_the_identity():
    # Some identities are easy, some hard: all their genuine pairs score alike.
    labels = np.repeat(np.arange(20), 6)
    pairs = all_pairs(labels)
    generator = np.random.default_rng(0)
    ease = generator.normal(size=20)
    scores = np.where(pairs.genuine, ease[labels[pairs.first]], 0) + 0.1 * generator.normal(
        size=len(pairs)
    )
    genuine = scores[pairs.genuine]
    clustered = identity_bootstrap(
        lambda w: float(np.average(genuine, weights=w[pairs.genuine])), pairs, labels
    )
    naive = stats.bootstrap((genuine,), np.mean, n_resamples=1000, method="percentile", rng=0)
    naive_width = naive.confidence_interval.high - naive.confidence_interval.low
    width = clustered.high - clustered.low
    assert width > 2.5 * naive_width  # 15 pairs an identity: sqrt(15) = 3.9 in the limit
    normal = 2 * 1.96 * ease.std() / np.sqrt(20)  # interval of a mean over 20 identities
    assert width == pytest.approx(normal, rel=0.15)


def test_roc_intervals_agree_with_one_statistic_at_a_time():
    embeddings, labels = clustered()
    pairs = all_pairs(labels)
    scores = pair_scores(embeddings, pairs)
    both = roc_intervals(
        scores, {"auc": Roc.auc, "eer": Roc.eer}, pairs, labels, replicates=50, seed=2
    )
    alone = identity_bootstrap(
        lambda w: roc_auc_score(pairs.genuine, scores, sample_weight=w),
        pairs,
        labels,
        replicates=50,
        seed=2,
    )
    for bound in ("value", "low", "high"):
        assert getattr(both["auc"], bound) == pytest.approx(getattr(alone, bound))
    assert both["auc"].low < both["auc"].value < both["auc"].high
    assert both["eer"].value == verification(scores, pairs.genuine).eer


def test_confidence_widens_and_seed_repeats():
    embeddings, labels = clustered()
    pairs = all_pairs(labels)
    scores = pair_scores(embeddings, pairs)
    arguments = (scores, {"auc": Roc.auc}, pairs, labels, 200)
    half, most = (roc_intervals(*arguments, confidence=c)["auc"] for c in (0.5, 0.99))
    assert most.low < half.low < half.high < most.high
    assert roc_intervals(*arguments, seed=1) == roc_intervals(*arguments, seed=1)
    assert roc_intervals(*arguments, seed=1) != roc_intervals(*arguments, seed=2)


def test_replicates_without_a_genuine_pair_are_dropped_and_counted():
    labels = [0, 0, 1, 2]  # only identity 0 has a genuine pair: missed by (2/3)^3 of the draws
    pairs = all_pairs(labels)
    interval = roc_intervals(np.arange(6.0), {"auc": Roc.auc}, pairs, labels, replicates=3000)[
        "auc"
    ]
    # All draws of one identity leave no impostor: 1/27 more for identity 0.
    assert interval.undefined / 3000 == pytest.approx(8 / 27 + 1 / 27, abs=0.03)
    assert interval.replicates == 3000


def test_statistic_may_be_undefined():
    pairs = all_pairs([0, 0, 1, 1])
    calls = iter(range(1000))
    interval = identity_bootstrap(
        lambda w: None if next(calls) % 2 else 1.0, pairs, [0, 0, 1, 1], replicates=100
    )
    assert 50 < interval.undefined < 100
    with pytest.raises(
        ValueError, match="numbers on the data and on some replicate, got None of statistic"
    ):
        identity_bootstrap(lambda w: None, pairs, [0, 0, 1, 1], replicates=5)


def test_paired_difference_uses_the_same_weights():
    embeddings, labels = clustered(noise=1.5)
    pairs = all_pairs(labels)
    scores = pair_scores(embeddings, pairs)
    statistics = {"auc": Roc.auc}
    same = paired_difference(scores, 2 * scores, statistics, pairs, labels, 50)["auc"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    better = scores + 0.05 * pairs.genuine
    gain = paired_difference(scores, better, statistics, pairs, labels)["auc"]
    assert gain.value == pytest.approx(
        roc_auc_score(pairs.genuine, better) - roc_auc_score(pairs.genuine, scores)
    )
    alone = roc_intervals(scores, statistics, pairs, labels)["auc"]
    assert 0 < gain.low < gain.high
    assert gain.high - gain.low < (alone.high - alone.low) / 2


def test_wrong_arguments_are_named():
    labels = [0, 0, 1, 1]
    pairs = all_pairs(labels)
    with pytest.raises(
        ValueError, match=r"pairs\.genuine: expected pairs of one identity, got 2 pairs of two"
    ):
        identity_bootstrap(lambda w: 1.0, pairs, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="replicates"):
        identity_bootstrap(lambda w: 1.0, pairs, labels, replicates=0)
    with pytest.raises(ValueError, match="confidence"):
        identity_bootstrap(lambda w: 1.0, pairs, labels, confidence=95)
    zero, one = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64)
    with pytest.raises(ValueError, match="pairs: expected at least 2 identities, got 1"):
        identity_bootstrap(lambda w: 1.0, Pairs(zero, one, np.array([True])), [0, 0])


def test_cluster_mean_of_single_trials_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=80)
    interval = cluster_mean(values, np.arange(80), replicates=4000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert interval.value == pytest.approx(values.mean())
    width = expected.high - expected.low
    assert interval.low == pytest.approx(expected.low, abs=0.05 * width)
    assert interval.high == pytest.approx(expected.high, abs=0.05 * width)


def test_cluster_mean_agrees_with_scipy_on_sums_and_sizes():
    # The mean over trials is a ratio of two sums over clusters, which SciPy resamples in pairs.
    generator = np.random.default_rng(1)
    cluster = np.repeat(np.arange(30), generator.integers(1, 9, 30))
    values = (generator.normal(size=30)[cluster] > 0).astype(float)
    sums, sizes = np.bincount(cluster, values), np.bincount(cluster)
    expected = stats.bootstrap(
        (sums, sizes),
        lambda s, n, axis: s.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=2,
    ).confidence_interval
    interval = cluster_mean(values, cluster, replicates=4000)
    width = expected.high - expected.low
    assert interval.low == pytest.approx(expected.low, abs=0.06 * width)
    assert interval.high == pytest.approx(expected.high, abs=0.06 * width)
    naive = cluster_mean(values, np.arange(len(values)), replicates=1000)
    assert width > 1.5 * (naive.high - naive.low)
    with pytest.raises(ValueError, match="values: expected shape"):
        cluster_mean(values, cluster[:-1])
