"""RFW: subsets, their mean and spread, and differences."""

from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import largest_share
from pair_cases import as_pairs, pair_case

from fairloss.data import contiguous_folds
from fairloss.evaluation import (
    PairSet,
    compare_rfw,
    evaluate_rfw,
    pair_fold_accuracy,
    pair_scores,
    skewed_error_ratio,
)
from fairloss.evaluation.rfw import RfwStatistics


def number_at(report, keys):
    for key in keys:
        report = report[key]
    return report


def subset(noise, start, pairs=200, folds=2):
    embeddings, genuine = pair_case(pairs, 12, noise, start)
    identity = np.where(
        np.repeat(genuine, 2), np.arange(2 * pairs) // 2, np.arange(2 * pairs) + 9999
    )
    return PairSet(embeddings, as_pairs(genuine), contiguous_folds(pairs, folds), identity)


def test_rfw_agrees_with_each_subset_alone():
    subsets = {name: subset(noise, n, 300, 5) for n, (name, noise) in enumerate(
        {"African": 1.6, "Asian": 1.4, "Caucasian": 1.0, "Indian": 1.2}.items()
    )}  # fmt: skip
    report = evaluate_rfw(subsets, replicates=40)
    assert json.loads(json.dumps(report)) == report
    accuracy = []
    for name, (embeddings, pairs, fold, _) in subsets.items():
        expected = pair_fold_accuracy(pair_scores(embeddings, pairs), pairs.genuine, fold, 5).mean
        assert report["subsets"][name]["accuracy"]["value"] == expected
        accuracy.append(expected)
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
    perfect = subset(0.0, 3, 300, 5)
    report = evaluate_rfw({"a": perfect, "b": subset(1.5, 4, 300, 5)}, replicates=5)
    assert report["skewed_error_ratio"] == "not measurable: a subset has no error"
    with pytest.raises(ValueError, match="subsets: expected at least 2"):
        evaluate_rfw({"a": perfect})


def test_rfw_comparison_is_the_difference_of_both():
    poor = {name: subset(2.0, n) for n, name in enumerate(("African", "Asian"))}
    good = {name: subset(1.2, n) for n, name in enumerate(("African", "Asian"))}
    report = compare_rfw(poor, good, replicates=40)
    assert json.loads(json.dumps(report)) == report
    for keys in (("mean",), ("std",), ("subsets", "Asian", "accuracy"), ("skewed_error_ratio",)):
        gain = number_at(report["difference"], keys)
        assert gain["value"] == pytest.approx(
            number_at(report["b"], keys) - number_at(report["a"], keys)
        )
    assert report["difference"]["mean"]["low"] > 0
    same = compare_rfw(good, dict(reversed(good.items())), replicates=5)["difference"]
    # 110 of the 200 pairs of a subset are genuine; each of the others has two more identities
    for gain, subsets in ((same["subsets"]["Asian"]["auc"], 1), (same["mean"], 2)):
        share = largest_share(subsets * 110, identities=subsets * (110 + 2 * 90))
        assert -gain["low"] == gain["high"] == pytest.approx(share, rel=2e-3)
    assert same["std"]["low"] < 0 < same["std"]["high"]
    perfect = {name: subset(0.0, 3) for name in good}
    ratio = compare_rfw(perfect, perfect, replicates=5)["difference"]["skewed_error_ratio"]
    assert ratio == "not measurable: a subset has no error"
    with pytest.raises(ValueError, match="others in 'Asian'"):
        compare_rfw(poor, {**good, "Asian": subset(1.2, 1, pairs=100)})


def test_rfw_is_the_mean_of_draws_of_each_subset():
    subsets = {name: subset(2.0, n) for n, name in enumerate(("African", "Asian"))}
    statistics = RfwStatistics(subsets)
    ones = statistics.weighted(np.ones(400))
    for keys, value in ones.items():
        assert value == pytest.approx(number_at(statistics.point, keys))
    weights = np.random.default_rng(0).integers(0, 3, 400).astype(float)
    numbers = statistics.weighted(weights)
    accuracies = [numbers["subsets", name, "accuracy"] for name in subsets]
    assert numbers["mean",] == pytest.approx(np.mean(accuracies))
    assert numbers["std",] == pytest.approx(np.std(accuracies))
    first_only = np.concatenate((weights[:200], np.ones(200)))
    changed = statistics.weighted(first_only)
    assert changed["subsets", "African", "auc"] == numbers["subsets", "African", "auc"]
    assert changed["subsets", "Asian", "auc"] == ones["subsets", "Asian", "auc"]
    # the subsets are drawn apart, so their variances add up
    report = evaluate_rfw(subsets, replicates=300)
    widths = [s["accuracy"]["high"] - s["accuracy"]["low"] for s in report["subsets"].values()]
    width = report["mean"]["high"] - report["mean"]["low"]
    assert width == pytest.approx(np.sqrt(np.square(widths).sum()) / 2, rel=0.15)
