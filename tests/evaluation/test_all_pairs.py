import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fairloss.evaluation import (
    all_pairs,
    compare_pairs,
    evaluate_pairs,
    fold_accuracy,
    identity_folds,
    pair_scores,
    verification,
)


def clustered(identities=24, photos=3, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat([f"identity {i:02}" for i in range(identities)], photos)
    centers = np.repeat(generator.normal(size=(identities, 8)), photos, axis=0)
    return centers + noise * generator.normal(size=centers.shape), labels


def test_report_agrees_with_single_metrics():
    embeddings, labels = clustered()
    report = evaluate_pairs(embeddings, labels, replicates=50)
    assert json.loads(json.dumps(report)) == report
    pairs = all_pairs(labels)
    scores = pair_scores(embeddings, pairs)
    assert report["version"] == 1
    assert (report["samples"], report["identities"]) == (72, 24)
    assert (report["genuine"], report["impostor"]) == (72, 72 * 71 // 2 - 72)
    assert report["auc"]["value"] == pytest.approx(roc_auc_score(pairs.genuine, scores))
    expected = verification(scores, pairs.genuine)
    assert report["eer"]["value"] == expected.eer
    for far in (0.1, 0.01, 0.001):
        interval = report["tar"][str(far)]
        assert interval["value"] == expected.tar[far]
        assert interval["low"] <= interval["value"] <= interval["high"]
        assert report["thresholds"][str(far)] == expected.thresholds[far]
    assert report["tar"]["0.0001"] == "not measurable with 2484 impostors"
    folds = fold_accuracy(scores, pairs, identity_folds(labels, 10), 10)
    assert report["fold_accuracy"]["accuracies"] == list(folds.accuracies)
    assert report["fold_accuracy"]["folds"] == 10


def test_folds_follow_the_number_of_identities():
    embeddings, labels = clustered(identities=9)
    assert evaluate_pairs(embeddings, labels, replicates=5)["fold_accuracy"]["folds"] == 4
    report = evaluate_pairs(embeddings, labels, folds=2, replicates=5)
    assert report["fold_accuracy"]["folds"] == 2
    with pytest.raises(ValueError, match="at least 2 identities"):
        evaluate_pairs(embeddings, labels, folds=6, replicates=5)


def test_too_few_identities_for_folds_is_a_reason():
    embeddings, labels = clustered(identities=3)
    report = evaluate_pairs(embeddings, labels, replicates=5)
    assert report["fold_accuracy"] == "not measurable with 3 identities, 3 with several samples"


def test_identities_of_one_photo_do_not_count_for_folds():
    embeddings, labels = clustered(identities=30, photos=2)
    keep = np.concatenate((np.arange(0, 60, 2), [1, 3, 5]))  # 3 identities have a second photo
    report = evaluate_pairs(embeddings[keep], labels[keep], replicates=5)
    assert report["fold_accuracy"]["folds"] == 3


def test_comparison_is_the_difference_of_both():
    good, labels = clustered(noise=0.6)
    poor = good + 0.8 * np.random.default_rng(1).normal(size=good.shape)
    report = compare_pairs(poor, good, labels, replicates=200)
    assert json.loads(json.dumps(report)) == report
    difference = report["difference"]
    assert difference["auc"]["value"] == pytest.approx(report["b"]["auc"] - report["a"]["auc"])
    assert difference["auc"]["low"] > 0
    assert difference["eer"]["high"] < 0
    assert difference["tar"]["0.01"]["value"] == pytest.approx(
        report["b"]["tar"]["0.01"] - report["a"]["tar"]["0.01"]
    )
    assert difference["tar"]["1e-06"] == "not measurable with 2484 impostors"
    swapped = compare_pairs(good, poor, labels, replicates=200)["difference"]
    assert swapped["auc"]["low"] == pytest.approx(-difference["auc"]["high"])


def test_models_may_differ_in_embedding_size():
    embeddings, labels = clustered()
    padded = np.hstack((embeddings, np.zeros((len(embeddings), 2))))
    difference = compare_pairs(embeddings, padded, labels, replicates=5)["difference"]
    assert difference["auc"]["value"] == pytest.approx(0, abs=1e-4)


def test_lengths_must_agree():
    embeddings, labels = clustered()
    with pytest.raises(ValueError, match="embeddings: expected 72 rows, as identities, got 71"):
        evaluate_pairs(embeddings[1:], labels)
    with pytest.raises(ValueError, match="embeddings_b: expected 72 rows.*got 71"):
        compare_pairs(embeddings, embeddings[1:], labels)
    with pytest.raises(ValueError, match="embeddings_b: expected 72 rows.*got 144"):
        compare_pairs(embeddings, [embeddings, np.concatenate((embeddings, embeddings))], labels)
    with pytest.raises(ValueError, match=r"embeddings_a: expected an array .* shape \(1, 72, 8\)"):
        compare_pairs([embeddings, embeddings[None]], embeddings, labels)


def few_features(identities=20, photos=4, seed=0):
    generator = np.random.default_rng(seed)
    identity = np.repeat(np.arange(identities), photos)
    centers = generator.normal(size=(identities, 6))[identity]
    return centers + generator.normal(size=centers.shape), identity


def test_accuracy_over_folds_of_all_pairs_has_an_interval():
    embeddings, identity = few_features()
    report = evaluate_pairs(embeddings, identity, folds=4, replicates=200)
    accuracy = report["accuracy"]
    assert accuracy["value"] == report["fold_accuracy"]["mean"]
    # the same from copies of the identities drawn, each in the fold of its original
    fold, pairs = identity_folds(identity, 4), all_pairs(identity)
    scores = pair_scores(embeddings, pairs)
    generator, expected = np.random.default_rng(0), []
    for _ in range(200):
        drawn = generator.integers(20, size=20)
        rows = np.concatenate([np.flatnonzero(identity == number) for number in drawn])
        copy = np.repeat(np.arange(20), 4)
        copied = all_pairs(copy)
        different = identity[rows][copied.first] != identity[rows][copied.second]
        compared = copied[np.flatnonzero(copied.genuine | different)]
        values = pair_scores(embeddings[rows], compared)
        try:
            expected.append(fold_accuracy(values, compared, fold[rows], 4).mean)
        except ValueError:  # a fold without impostors: left out of the mean
            expected.append(np.nan)
    low, high = np.nanquantile(expected, (0.025, 0.975))
    assert np.isfinite(expected).mean() > 0.8
    assert accuracy["bootstrap"]["low"] == pytest.approx(low, abs=0.006)
    assert accuracy["bootstrap"]["high"] == pytest.approx(high, abs=0.006)
    assert accuracy["low"] == pytest.approx(low, abs=0.03)
    assert accuracy["high"] == pytest.approx(high, abs=0.03)
    assert fold_accuracy(scores, pairs, fold, 4).mean == accuracy["value"]


def test_difference_of_accuracies_of_all_pairs():
    embeddings, identity = few_features()
    worse = embeddings + 1.5 * np.random.default_rng(1).normal(size=embeddings.shape)
    report = compare_pairs(worse, embeddings, identity, replicates=50)
    gain = report["difference"]["accuracy"]
    assert gain["value"] == pytest.approx(report["b"]["accuracy"] - report["a"]["accuracy"])
    assert gain["low"] > 0
    few = compare_pairs(worse[:12], embeddings[:12], identity[:12], replicates=5)
    assert few["difference"]["accuracy"].startswith("not measurable with 3 identities")


@pytest.mark.parametrize("networks", [1, 2, 3])
def test_one_report_is_of_one_network(networks):
    embeddings, identity = few_features()
    with pytest.raises(ValueError, match=r"embeddings: expected an \(N, D\) array.*got shape \("):
        evaluate_pairs(np.stack([embeddings] * networks), identity)
