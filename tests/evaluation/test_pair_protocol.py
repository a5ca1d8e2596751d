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


def people(identities=24, photos=3, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.repeat([f"person {i:02}" for i in range(identities)], photos)
    centers = np.repeat(generator.normal(size=(identities, 8)), photos, axis=0)
    return centers + noise * generator.normal(size=centers.shape), labels


def test_report():
    embeddings, labels = people()
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


def test_number_of_folds():
    embeddings, labels = people(identities=9)
    assert evaluate_pairs(embeddings, labels, replicates=5)["fold_accuracy"]["folds"] == 4
    report = evaluate_pairs(embeddings, labels, folds=2, replicates=5)
    assert report["fold_accuracy"]["folds"] == 2
    with pytest.raises(ValueError, match="at least 2 identities"):
        evaluate_pairs(embeddings, labels, folds=6, replicates=5)


def test_too_few_people_for_folds():
    embeddings, labels = people(identities=3)
    report = evaluate_pairs(embeddings, labels, replicates=5)
    assert report["fold_accuracy"] == "not measurable with 3 identities, 3 with several samples"


def test_long_tail_of_single_photos():
    embeddings, labels = people(identities=30, photos=2)
    keep = np.concatenate((np.arange(0, 60, 2), [1, 3, 5]))  # 3 people have a second photo
    report = evaluate_pairs(embeddings[keep], labels[keep], replicates=5)
    assert report["fold_accuracy"]["folds"] == 3


def test_comparison():
    good, labels = people(noise=0.6)
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
    embeddings, labels = people()
    padded = np.hstack((embeddings, np.zeros((len(embeddings), 2))))
    difference = compare_pairs(embeddings, padded, labels, replicates=5)["difference"]
    assert difference["auc"]["value"] == pytest.approx(0, abs=1e-4)


def test_lengths_must_agree():
    embeddings, labels = people()
    with pytest.raises(ValueError, match="embeddings has 71 rows but identities has 72"):
        evaluate_pairs(embeddings[1:], labels)
    with pytest.raises(ValueError, match="embeddings_b has 71 rows"):
        compare_pairs(embeddings, embeddings[1:], labels)
