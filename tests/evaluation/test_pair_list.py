"""The ten-fold protocol on lists of pairs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from agreement import largest_share
from pair_cases import as_pairs, pair_case, uniform
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from fairloss.data import contiguous_folds, interleaved_folds
from fairloss.evaluation import (
    Pairs,
    compare_pair_list,
    compare_scores,
    evaluate_pair_list,
    evaluate_scores,
    pair_fold_accuracy,
    pair_scores,
)
from fairloss.evaluation.folds import FoldScores

EMBEDDINGS, GENUINE = pair_case(600, 8, 1.2, 9)
PAIRS = as_pairs(GENUINE)
FOLD = contiguous_folds(600)
# the two images of a genuine pair share an identity, nothing else does
IDENTITIES = np.where(np.repeat(GENUINE, 2), np.arange(1200) // 2, np.arange(1200) + 5000)


@pytest.fixture(scope="module")
def report():
    return evaluate_pair_list(EMBEDDINGS, PAIRS, FOLD, IDENTITIES, replicates=60)


def test_report_agrees_with_scikit_learn(report):
    scores = pair_scores(EMBEDDINGS, PAIRS)
    assert json.loads(json.dumps(report)) == report
    assert report["auc"]["value"] == pytest.approx(roc_auc_score(GENUINE, scores))
    far, tar, _ = roc_curve(GENUINE, scores, drop_intermediate=False)
    for limit in (0.1, 0.01):
        assert report["tar"][str(limit)]["value"] == pytest.approx(tar[far <= limit].max())
    assert report["tar"]["0.001"] == "not measurable with 300 impostors"
    assert (report["genuine"], report["impostor"], report["pairs"]) == (300, 300, 600)
    for name in ("auc", "eer", "accuracy"):
        assert report[name]["low"] <= report[name]["value"] <= report[name]["high"]


def test_accuracy_against_brute_force(report):
    scores = pair_scores(EMBEDDINGS, PAIRS).astype(float)
    cuts = np.sort(scores)
    cuts = np.concatenate(([-2], (cuts[1:] + cuts[:-1]) / 2, [2]))[::-1]
    accuracies = []
    for train, test in KFold(10).split(scores):
        right = [((scores[train] >= cut) == GENUINE[train]).mean() for cut in cuts]
        best = cuts[int(np.argmax(right))]
        accuracies.append(((scores[test] >= best) == GENUINE[test]).mean())
    # the midpoints of brute force use the test fold's scores too, so a threshold may move a little
    assert report["accuracy"]["value"] == pytest.approx(np.mean(accuracies), abs=0.004)
    assert report["fold_accuracy"]["mean"] == report["accuracy"]["value"]
    assert report["insightface"]["accuracy"] == pytest.approx(np.mean(accuracies), abs=0.02)


def test_weighted_folds_equal_repeated_pairs():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=120).round(1) + GENUINE[:120]
    weights = generator.integers(0, 4, 120)
    fold = np.arange(120) % 4
    numbers = FoldScores(scores, GENUINE[:120], fold, 4).accuracies(weights.astype(float))
    again = np.repeat(np.arange(120), weights)
    expected = pair_fold_accuracy(scores[again], GENUINE[again], fold[again], 4)
    assert numbers[0] == pytest.approx(expected.accuracies)


def test_equal_scores_have_an_auc_of_one_half():
    # Accepting all is as good as rejecting all: half of the pairs are right, AUC and EER one half.
    numbers = evaluate_scores(np.zeros(600), PAIRS, FOLD, IDENTITIES, replicates=5)
    assert numbers["accuracy"]["value"] == 0.5
    assert numbers["auc"]["value"] == numbers["eer"]["value"] == 0.5
    assert numbers["tar"]["0.1"]["value"] == 0.0


def test_positives_first_need_interleaved_folds():
    genuine = np.arange(40) < 20
    scores = np.where(genuine, 1.0, 0.0)
    with pytest.raises(ValueError, match="fold 0: .*got 4 genuine and 0 impostor"):
        pair_fold_accuracy(scores, genuine, contiguous_folds(40), 10)
    assert pair_fold_accuracy(scores, genuine, interleaved_folds(genuine), 10).mean == 1.0


def test_interval_agrees_with_scipy_where_identities_are_pairs():
    # With one pair per pair of identities, drawing identities resamples genuine pairs one by one.
    scores = np.where(GENUINE, np.linspace(0, 1, 600), -1.0)
    perfect = evaluate_scores(scores, PAIRS, FOLD, IDENTITIES)["auc"]
    wilson = stats.binomtest(300, 300).proportion_ci(method="wilson")
    assert perfect["value"] == perfect["high"] == 1.0
    assert perfect["low"] == pytest.approx(wilson.low, rel=1e-4)
    scores = np.where(GENUINE, np.linspace(-1, 1, 600), 0.0)  # AUC = share of genuine above 0
    numbers = evaluate_scores(scores, PAIRS, FOLD, IDENTITIES, replicates=200)["auc"]
    above = (scores[GENUINE] > 0).astype(float)
    expected = stats.bootstrap((above,), np.mean, n_resamples=4000, method="percentile", rng=0)
    interval = expected.confidence_interval
    assert numbers["low"] == pytest.approx(interval.low, abs=0.02)
    assert numbers["high"] == pytest.approx(interval.high, abs=0.02)


def test_impostor_pair_within_an_identity_weighs_as_the_identity():
    pairs = Pairs(np.array([0, 2, 0, 1]), np.array([1, 3, 2, 0]), np.array([1, 1, 0, 0], bool))
    identity = np.array([0, 0, 1, 1])  # the last pair calls two photos of identity 0 different
    pairs_twice = Pairs(*(np.tile(a, 2) for a in (pairs.first, pairs.second, pairs.genuine)))
    numbers = evaluate_scores(
        np.tile([3.0, 2.0, 1.0, 0.0], 2), pairs_twice, np.repeat([0, 1], 4), identity, replicates=20
    )
    assert numbers["auc"]["value"] == 1.0


def test_comparison_is_the_difference_of_both():
    worse = EMBEDDINGS + 2 * uniform(1200 * 8, 77).reshape(1200, 8)
    numbers = compare_pair_list(worse, EMBEDDINGS, PAIRS, FOLD, IDENTITIES, replicates=60)
    assert json.loads(json.dumps(numbers)) == numbers
    gain = numbers["difference"]
    assert gain["auc"]["value"] == pytest.approx(numbers["b"]["auc"] - numbers["a"]["auc"])
    assert gain["auc"]["low"] > 0
    assert gain["accuracy"]["value"] == pytest.approx(
        numbers["b"]["fold_accuracy"]["mean"] - numbers["a"]["fold_accuracy"]["mean"]
    )
    same = compare_pair_list(EMBEDDINGS, 3 * EMBEDDINGS, PAIRS, FOLD, IDENTITIES, replicates=5)
    gain = same["difference"]["accuracy"]
    share = largest_share(300, identities=900)  # 300 of genuine pairs
    assert -gain["low"] == gain["high"] == pytest.approx(share, rel=2e-3)
    assert same["difference"]["tar"]["0.0001"] == "not measurable with 300 impostors"


def test_paired_difference_agrees_with_scipy():
    # One genuine pair an identity; impostors all at 0, so the AUC is the share of genuine above 0.
    generator = np.random.default_rng(0)
    genuine = np.arange(400) % 2 == 0
    identity = np.where(np.repeat(genuine, 2), np.arange(800) // 2, np.arange(800) + 5000)
    ease = generator.normal(size=400) + 0.3
    a, b = (np.where(genuine, ease + 0.5 * generator.normal(size=400), 0) for _ in range(2))
    pairs, fold = as_pairs(genuine), contiguous_folds(400)
    numbers = compare_scores(a, b, pairs, fold, identity, replicates=1000)["difference"]["auc"]
    above_a, above_b = ((scores[genuine] > 0).astype(float) for scores in (a, b))
    expected = stats.bootstrap(
        (above_a, above_b),
        lambda x, y, axis: y.mean(axis) - x.mean(axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=0,
    ).confidence_interval
    width = expected.high - expected.low
    assert numbers["value"] == pytest.approx(above_b.mean() - above_a.mean())
    assert numbers["low"] == pytest.approx(expected.low, abs=0.12 * width)
    assert numbers["high"] == pytest.approx(expected.high, abs=0.12 * width)
    alone = stats.bootstrap((above_a,), np.mean, n_resamples=999, method="percentile", rng=0)
    low, high = alone.confidence_interval
    assert width < 1.2 * (high - low)  # unpaired: sqrt(2) times as wide
