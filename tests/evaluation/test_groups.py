"""RFW, reports by group and by class frequency, and the cluster bootstrap beneath."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pair_cases import as_pairs, pair_case
from scipy import stats

from fairloss.data import contiguous_folds
from fairloss.evaluation import (
    PairSet,
    all_pairs,
    cluster_mean,
    evaluate_groups,
    evaluate_rfw,
    frequency_groups,
    pair_fold_accuracy,
    pair_scores,
    skewed_error_ratio,
    verification,
)


def subset(noise, start, pairs=300):
    embeddings, genuine = pair_case(pairs, 12, noise, start)
    people = np.where(np.repeat(genuine, 2), np.arange(2 * pairs) // 2, np.arange(2 * pairs) + 9999)
    return PairSet(embeddings, as_pairs(genuine), contiguous_folds(pairs, 5), people)


def test_rfw():
    subsets = {name: subset(noise, n) for n, (name, noise) in enumerate(
        {"African": 1.6, "Asian": 1.4, "Caucasian": 1.0, "Indian": 1.2}.items()
    )}  # fmt: skip
    report = evaluate_rfw(subsets, replicates=40)
    assert json.loads(json.dumps(report)) == report
    accuracy = []
    for name, (embeddings, pairs, fold, _) in subsets.items():
        found = pair_fold_accuracy(pair_scores(embeddings, pairs), pairs.genuine, fold, 5).mean
        assert report["subsets"][name]["accuracy"]["value"] == found
        accuracy.append(found)
    assert report["mean"]["value"] == pytest.approx(np.mean(accuracy))
    assert report["std"]["value"] == pytest.approx(np.std(accuracy))
    error = 1 - np.array(accuracy)
    ratio = report["skewed_error_ratio"]
    assert ratio["value"] == pytest.approx(error.max() / error.min())
    assert 1 <= ratio["low"] <= ratio["high"]
    assert report["worst"] == list(subsets)[int(np.argmin(accuracy))] == "African"


def test_skewed_error_ratio_by_hand():
    assert skewed_error_ratio([0.9, 0.95, 0.98, 0.96]) == pytest.approx(5)
    assert skewed_error_ratio([0.9, 0.9]) == pytest.approx(1)
    assert np.isinf(skewed_error_ratio([0.9, 1.0]))
    perfect = subset(0.0, 3)
    report = evaluate_rfw({"a": perfect, "b": subset(1.5, 4)}, replicates=5)
    assert report["skewed_error_ratio"] == "not measurable: a subset has no error"
    with pytest.raises(ValueError, match="at least 2"):
        evaluate_rfw({"a": perfect})


def test_groups_by_hand():
    # Group x: genuine 0.9 and 0.4, impostors 0.5 and 0.1. Group y: genuine 0.8, impostor 0.6.
    people = np.array(["a", "a", "b", "c", "c", "d"])
    group = np.array(["x", "x", "x", "y", "y", "y"])
    pairs = all_pairs(people)
    scores = {(0, 1): 0.9, (0, 2): 0.5, (1, 2): 0.1, (3, 4): 0.8, (3, 5): 0.6, (4, 5): 0.2}
    values = [scores.get(p, 0.99) for p in zip(pairs.first.tolist(), pairs.second.tolist())]  # noqa: B905
    found = evaluate_groups(values, pairs, people, group, far=0.25, replicates=20)
    assert json.loads(json.dumps(found)) == found
    # 4 impostor pairs within groups (pairs across groups, all at 0.99, are left out): one may pass
    assert found["common_threshold"] == 0.6
    for group, expected in (("x", {"far": 0.0, "tar": 1.0}), ("y", {"far": 0.5, "tar": 1.0})):
        common = found["groups"][group]["at_common_threshold"]
        assert {rate: interval["value"] for rate, interval in common.items()} == expected
    assert found["groups"]["x"]["auc"]["value"] == 1.0
    assert found["groups"]["x"]["tar"]["0.1"] == "not measurable with 2 impostors"
    assert found["skewed_error_ratio"] == "not measurable: a group has no error"


def test_groups_agree_with_each_group_alone():
    generator = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 4)
    group = np.where(people < 24, "many", "few")
    noise = np.where(group == "many", 1.0, 2.0)
    embeddings = generator.normal(size=(40, 8))[people] + noise[:, None] * generator.normal(
        size=(160, 8)
    )
    pairs = all_pairs(people)
    found = evaluate_groups(pair_scores(embeddings, pairs), pairs, people, group, replicates=20)
    eer = {}
    for name in ("many", "few"):
        inside = np.flatnonzero(group == name)
        alone = all_pairs(people[inside])
        expected = verification(pair_scores(embeddings[inside], alone), alone.genuine)
        eer[name] = found["groups"][name]["eer"]["value"]
        assert eer[name] == expected.eer
        assert found["groups"][name]["genuine"] == expected.genuine
    assert found["worst"] == "few"
    assert found["skewed_error_ratio"]["value"] == pytest.approx(eer["few"] / eer["many"])
    assert found["mean_eer"]["value"] == pytest.approx(np.mean(list(eer.values())))


def test_a_group_of_one_person_says_why():
    people = np.array([0, 0, 1, 1, 2, 2])
    found = evaluate_groups(
        np.arange(15.0), all_pairs(people), people, [0, 0, 0, 0, 1, 1], replicates=5
    )
    assert found["groups"]["1"]["reason"] == "not measurable with 0 impostors, 1 genuine"
    with pytest.raises(ValueError, match="no group has both"):
        evaluate_groups(np.arange(15.0), all_pairs(people), people, people)


def test_frequency_groups():
    counts = [1, 19, 20, 100, 101]
    assert frequency_groups(counts).tolist() == ["tail", "tail", "mid", "mid", "head"]
    assert frequency_groups([1, 2, 3], (2, 2)).tolist() == ["tail", "mid", "head"]
    with pytest.raises(ValueError, match="cuts"):
        frequency_groups(counts, (5, 4))


def test_cluster_mean_of_single_trials_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=80)
    found = cluster_mean(values, np.arange(80), replicates=4000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert found.value == pytest.approx(values.mean())
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.05 * width)
    assert found.high == pytest.approx(expected.high, abs=0.05 * width)


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
    found = cluster_mean(values, cluster, replicates=4000)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)
    naive = cluster_mean(values, np.arange(len(values)), replicates=1000)
    assert width > 1.5 * (naive.high - naive.low)
    with pytest.raises(ValueError, match="shape"):
        cluster_mean(values, cluster[:-1])
