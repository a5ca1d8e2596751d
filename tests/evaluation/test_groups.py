"""Reports by group and by class frequency."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fairloss.evaluation import (
    all_pairs,
    compare_groups,
    evaluate_groups,
    frequency_groups,
    pair_scores,
    verification,
)
from fairloss.evaluation.groups import GroupStatistics


def number_at(report, keys):
    for key in keys:
        report = report[key]
    return report


def test_groups_by_hand():
    # Group x: genuine 0.9 and 0.4, impostors 0.5 and 0.1. Group y: genuine 0.8, impostor 0.6.
    identity = np.array(["a", "a", "b", "c", "c", "d"])
    group = np.array(["x", "x", "x", "y", "y", "y"])
    pairs = all_pairs(identity)
    scores = {(0, 1): 0.9, (0, 2): 0.5, (1, 2): 0.1, (3, 4): 0.8, (3, 5): 0.6, (4, 5): 0.2}
    values = [scores.get(p, 0.99) for p in zip(pairs.first.tolist(), pairs.second.tolist())]  # noqa: B905
    report = evaluate_groups(values, pairs, identity, group, far=0.25, replicates=20)
    assert json.loads(json.dumps(report)) == report
    # 4 impostor pairs within groups (pairs of two groups, all at 0.99, are left out): one may pass
    assert report["common_threshold"] == 0.6
    for group, expected in (("x", {"far": 0.0, "tar": 1.0}), ("y", {"far": 0.5, "tar": 1.0})):
        common = report["groups"][group]["at_common_threshold"]
        assert {rate: interval["value"] for rate, interval in common.items()} == expected
    assert report["groups"]["x"]["auc"]["value"] == 1.0
    assert report["groups"]["x"]["tar"]["0.1"] == "not measurable with 2 impostors"
    assert report["skewed_error_ratio"] == "not measurable: a group has no error"


def test_groups_agree_with_each_group_alone():
    generator = np.random.default_rng(0)
    identity = np.repeat(np.arange(40), 4)
    group = np.where(identity < 24, "many", "few")
    noise = np.where(group == "many", 1.0, 2.0)
    embeddings = generator.normal(size=(40, 8))[identity] + noise[:, None] * generator.normal(
        size=(160, 8)
    )
    pairs = all_pairs(identity)
    report = evaluate_groups(pair_scores(embeddings, pairs), pairs, identity, group, replicates=20)
    eer = {}
    for name in ("many", "few"):
        inside = np.flatnonzero(group == name)
        alone = all_pairs(identity[inside])
        expected = verification(pair_scores(embeddings[inside], alone), alone.genuine)
        eer[name] = report["groups"][name]["eer"]["value"]
        assert eer[name] == expected.eer
        assert report["groups"][name]["genuine"] == expected.genuine
    assert report["worst"] == "few"
    assert report["skewed_error_ratio"]["value"] == pytest.approx(eer["few"] / eer["many"])
    assert report["mean_eer"]["value"] == pytest.approx(np.mean(list(eer.values())))


def test_a_group_of_one_identity_has_a_reason():
    identity = np.array([0, 0, 1, 1, 2, 2])
    report = evaluate_groups(
        np.arange(15.0), all_pairs(identity), identity, [0, 0, 0, 0, 1, 1], replicates=5
    )
    assert report["groups"]["1"]["reason"] == "not measurable with 0 impostors, 1 genuine"
    with pytest.raises(
        ValueError, match="groups: expected at least one genuine and one impostor pair"
    ):
        evaluate_groups(np.arange(15.0), all_pairs(identity), identity, identity)


@pytest.mark.parametrize("length", [14, 16])
def test_scores_of_other_pairs_are_refused(length):
    identity = np.array([0, 0, 1, 1, 2, 2])
    data = all_pairs(identity), identity, np.zeros(6)
    scores, other = np.arange(15.0), np.arange(float(length))
    message = rf"scores: expected shape \(15,\), got \({length},\)"
    with pytest.raises(ValueError, match=message):
        evaluate_groups(other, *data)
    with pytest.raises(ValueError, match=message):
        compare_groups(scores, [scores, other], *data)


def test_frequency_groups_by_hand():
    counts = [1, 19, 20, 100, 101]
    assert frequency_groups(counts).tolist() == ["tail", "tail", "mid", "mid", "head"]
    assert frequency_groups([1, 2, 3], (2, 2)).tolist() == ["tail", "mid", "head"]
    with pytest.raises(ValueError, match="cuts"):
        frequency_groups(counts, (5, 4))


def grouped(noise, seed=0):
    generator = np.random.default_rng(seed)
    identity = np.repeat(np.arange(30), 4)
    group = np.where(identity < 18, "many", np.where(identity < 29, "few", "one"))
    embeddings = generator.normal(size=(30, 8))[identity] + noise * generator.normal(size=(120, 8))
    pairs = all_pairs(identity)
    return pair_scores(embeddings, pairs), pairs, identity, group


@pytest.mark.parametrize("seed", range(3))
def test_weights_of_groups_are_repetitions(seed):
    scores, pairs, identity, group = grouped(1.3)
    within = np.flatnonzero(group[pairs.first] == group[pairs.second])
    scores, pairs, label = scores[within], pairs[within], group[pairs.first[within]]
    drawn = np.bincount(np.random.default_rng(seed).integers(30, size=30), minlength=30)
    weights = drawn[identity[pairs.first]] * np.where(
        pairs.genuine, 1, drawn[identity[pairs.second]]
    )
    again = np.repeat(np.arange(len(scores)), weights)
    expected = GroupStatistics(scores[again], pairs.genuine[again], label[again], 0.01).point
    numbers = GroupStatistics(scores, pairs.genuine, label, 0.01).weighted(weights.astype(float))
    assert ("groups", "few", "at_common_threshold", "far") in numbers
    for keys, value in numbers.items():
        assert value == pytest.approx(number_at(expected, keys))


def test_groups_have_intervals_and_differences():
    scores, pairs, identity, group = grouped(1.5)
    better = grouped(0.9)[0]
    options = {"far": 0.05, "replicates": 60}
    report = evaluate_groups(scores, pairs, identity, group, **options)
    for keys in (
        ("mean_eer",),
        ("std_eer",),
        ("skewed_error_ratio",),
        ("groups", "many", "at_common_threshold", "far"),
        ("groups", "few", "at_common_threshold", "tar"),
    ):
        number = number_at(report, keys)
        assert number["low"] <= number["value"] <= number["high"]
        assert number["low"] < number["high"]
    report = compare_groups(scores, better, pairs, identity, group, **options)
    assert json.loads(json.dumps(report)) == report
    gain = report["difference"]["groups"]["many"]["at_common_threshold"]["tar"]
    assert gain["low"] > 0
    gain = report["difference"]["mean_eer"]
    assert gain["high"] < 0
    assert gain["value"] == pytest.approx(report["b"]["mean_eer"] - report["a"]["mean_eer"])
    assert report["difference"]["groups"]["one"] == {
        "reason": "not measurable with 0 impostors, 6 genuine"
    }
