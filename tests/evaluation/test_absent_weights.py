"""Every weighted statistic equals that of the data without the items of weight 0."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import numpy as np
import pytest

from fairloss import evaluation
from fairloss.evaluation import Pairs, PairSet, Search
from fairloss.evaluation.folds import FoldScores
from fairloss.evaluation.groups import GroupStatistics
from fairloss.evaluation.ijb import IdentificationStatistics
from fairloss.evaluation.megaface import MegaFace
from fairloss.evaluation.rfw import RfwStatistics
from fairloss.evaluation.roc import SortedScores
from fairloss.evaluation.verification import PairStatistics, verification

COUNT = 480
GENERATOR = np.random.default_rng(0)
GENUINE = GENERATOR.random(COUNT) < 0.4
# nearly separable, so that few scores decide a threshold; some are tied
SCORES = (GENERATOR.normal(size=COUNT) + 4 * GENUINE).round(2)
FOLD = np.arange(COUNT) % 4
GROUP = np.where(np.arange(COUNT) % 3, "a", "b")
EMBEDDINGS = GENERATOR.normal(size=(2 * COUNT, 6))
EMBEDDINGS[COUNT:][GENUINE] = EMBEDDINGS[:COUNT][GENUINE] + 0.4 * GENERATOR.normal(
    size=(GENUINE.sum(), 6)
)
PAIRS = Pairs(np.arange(COUNT), np.arange(COUNT) + COUNT, GENUINE)
RANKS = GENERATOR.integers(0, 12, COUNT)
TRIALS = MegaFace(RANKS, SCORES, FOLD, np.sort(SCORES)[::-1], 10**4, 10**3)


def rfw(present):
    """Return the statistics of two subsets; `present` marks the pairs of one, then the other."""
    parts = np.split(np.flatnonzero(present), [present[:240].sum()])
    subsets = {
        name: PairSet(EMBEDDINGS, PAIRS[rows], FOLD[rows], np.arange(2 * COUNT))
        for name, rows in zip("ab", parts, strict=True)
    }
    return RfwStatistics(subsets)


def identification(present):
    mated = GENUINE[present]
    rank, mate = np.where(mated, RANKS[present] // 3, -1), np.where(mated, SCORES[present], np.nan)
    search = Search(mated, rank, mate.astype(np.float32), SCORES[::-1][present].astype(np.float32))
    return IdentificationStatistics({"one": search})


def megaface(present):
    parts = {name: getattr(TRIALS, name)[present] for name in ("rank", "score", "identity")}
    return replace(TRIALS, **parts)


STATISTICS = {
    PairStatistics: lambda p: PairStatistics(SCORES[p], GENUINE[p], FOLD[p]),
    GroupStatistics: lambda p: GroupStatistics(SCORES[p], GENUINE[p], GROUP[p], 0.05),
    RfwStatistics: rfw,
    IdentificationStatistics: identification,
    MegaFace: megaface,
}


@pytest.fixture(params=range(5))
def weights(request):
    """Weights as of drawn identities, a third of them 0; and fractions."""
    drawn = np.random.default_rng(request.param).poisson(1, COUNT)
    return drawn / 3 if request.param == 4 else drawn.astype(np.float64)


def test_all_classes_of_weighted_statistics_are_here():
    modules = pkgutil.iter_modules(evaluation.__path__, "fairloss.evaluation.")
    classes = {
        value
        for module in modules
        for value in vars(importlib.import_module(module.name)).values()
        if isinstance(value, type) and "weighted" in vars(value)
    }
    assert classes - {evaluation.protocol_report.Statistics} == set(STATISTICS)


@pytest.mark.parametrize("statistics", STATISTICS, ids=lambda value: value.__name__)
def test_items_of_weight_0_are_absent(statistics, weights):
    make, present = STATISTICS[statistics], weights > 0
    numbers = make(np.ones(COUNT, dtype=np.bool_)).weighted(weights)
    expected = make(present).weighted(weights[present])
    assert len(expected) >= 3
    assert {keys: numbers[keys] for keys in expected} == pytest.approx(expected, abs=1e-12)


def test_fold_thresholds_lie_between_pairs_that_are_present(weights):
    present = weights > 0
    accuracies, thresholds = FoldScores(SCORES, GENUINE, FOLD, 4).accuracies(weights)
    expected = FoldScores(SCORES[present], GENUINE[present], FOLD[present], 4)
    expected_accuracies, expected_thresholds = expected.accuracies(weights[present])
    assert thresholds == expected_thresholds
    assert accuracies == pytest.approx(expected_accuracies)
    assert FoldScores(SCORES, GENUINE, FOLD, 4).mean(weights) == np.mean(accuracies)


def test_fold_threshold_by_hand():
    scores = [0.9, 0.8, 0.6, 0.1, 0.9, 0.7, 0.3, 0.1]
    genuine = [1, 1, 0, 0, 1, 1, 0, 0]
    fold = np.repeat([0, 1], 4)
    folds = FoldScores(scores, genuine, fold, 2)
    assert folds.accuracies()[1] == pytest.approx([(0.7 + 0.3) / 2, (0.8 + 0.6) / 2])
    # without 0.3 and 0.8
    _, thresholds = folds.accuracies(np.array([1.0, 0, 1, 1, 1, 1, 0, 1]))
    assert thresholds == pytest.approx([(0.7 + 0.1) / 2, (0.9 + 0.6) / 2])


def test_rejecting_all_rejects_the_highest_score_that_is_present():
    scores, genuine = [0.9, 0.8, 0.5, 0.4] * 2, [0, 0, 1, 1] * 2
    folds = FoldScores(scores, genuine, np.repeat([0, 1], 4), 2)
    assert folds.accuracies() == ([0.5, 0.5], [np.nextafter(0.9, 1)] * 2)
    weights = np.array([0.0, 1, 1, 1, 0, 1, 1, 1])
    assert folds.accuracies(weights) == ([0.5, 0.5], [np.nextafter(0.8, 1)] * 2)


def test_verification_and_roc_are_of_the_pairs_that_are_present(weights):
    present = weights > 0
    part = SCORES[present], GENUINE[present], weights[present]
    assert verification(SCORES, GENUINE, weights) == verification(*part)
    whole, expected = SortedScores(SCORES, GENUINE).roc(weights), SortedScores(*part[:2])
    for statistic in ("auc", "eer"):
        value = getattr(expected.roc(part[2]), statistic)()
        assert getattr(whole, statistic)() == pytest.approx(value)
