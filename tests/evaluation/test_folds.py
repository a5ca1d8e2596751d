import json

import numpy as np
import pytest

from fairloss.evaluation import all_pairs, fold_accuracy, identity_folds, pair_fold_accuracy


def test_identity_folds_are_disjoint_and_even():
    identities = np.random.default_rng(0).integers(23, size=300)
    fold = identity_folds(identities, folds=5, seed=3)
    identities_of_fold = [set(identities[fold == k]) for k in range(5)]
    assert sum(map(len, identities_of_fold)) == len(set(identities))
    assert {len(members) for members in identities_of_fold} == {4, 5}


def test_identity_folds_follow_the_seed():
    identities = np.repeat(np.arange(30), 2)
    first, again, other = (identity_folds(identities, 5, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_every_fold_gets_identities_with_several_samples():
    identities = np.concatenate((np.arange(100), np.arange(10)))  # 10 of 100 have two
    for seed in range(5):
        fold = identity_folds(identities, 10, seed)
        assert sorted(fold[:10]) == list(range(10))


@pytest.mark.parametrize("folds", [1, 4])
def test_identity_folds_need_enough_identities(folds):
    with pytest.raises(ValueError, match=r"2\.\.3 for 3 identities"):
        identity_folds([0, 1, 2], folds)


def test_accuracy_by_hand():
    # Fold 0 separates anywhere in (0.4, 0.6): halfway. Fold 1 separates in (0.2, 0.5).
    scores = [0.9, 0.6, 0.4, 0.1, 0.8, 0.5, 0.2, 0.45]
    genuine = [1, 1, 0, 0, 1, 1, 0, 0]
    fold = [0, 0, 0, 0, 1, 1, 1, -1]
    accuracy = pair_fold_accuracy(scores, genuine, fold, 2)
    assert accuracy.thresholds == pytest.approx((0.35, 0.5))
    # Fold 0 at 0.35 accepts one of two impostors; fold 1 at 0.5 accepts exactly the genuine.
    assert accuracy.accuracies == pytest.approx((0.75, 1.0))
    assert accuracy.mean == pytest.approx(0.875)
    assert accuracy.std == pytest.approx(0.125)
    assert accuracy.standard_error == pytest.approx(0.125)  # sqrt(2) x 0.125 / sqrt(2)
    assert json.loads(json.dumps(accuracy.as_dict()))["folds"] == 2


def test_rejecting_everything_is_not_rewarded():
    # 1 genuine pair under 20 impostors of 200: plain accuracy would reject all, 199/200.
    scores = np.concatenate(([0.8], np.full(20, 0.9), np.linspace(0, 0.5, 179)))
    genuine = np.arange(200) == 0
    accuracy = pair_fold_accuracy(
        np.tile(scores, 2), np.tile(genuine, 2), np.repeat([0, 1], len(scores)), 2
    )
    assert accuracy.accuracies == pytest.approx((1 - 20 / 199 / 2,) * 2)


def test_adjacent_float32_scores_stay_apart():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    scores = np.array([high, low, high, low])
    assert pair_fold_accuracy(scores, [1, 0, 1, 0], [0, 0, 1, 1], 2).accuracies == (1.0, 1.0)


def test_only_pairs_within_a_fold_count():
    identities = np.repeat(np.arange(8), 3)
    fold_of_sample = identity_folds(identities, 4)
    pairs = all_pairs(identities)
    scores = np.random.default_rng(0).normal(size=len(pairs)) + 2.0 * pairs.genuine
    accuracy = fold_accuracy(scores, pairs, fold_of_sample, 4)
    between = fold_of_sample[pairs.first] != fold_of_sample[pairs.second]
    assert between.any()
    assert fold_accuracy(np.where(between, 9.0, scores), pairs, fold_of_sample, 4) == accuracy


def test_one_class_fold_is_named():
    pairs = all_pairs([0, 0, 1, 1, 2, 2])
    with pytest.raises(
        ValueError, match=r"fold 1: .*got 1 genuine and 0 impostor.*at least 2 ident"
    ):
        fold_accuracy(np.zeros(len(pairs)), pairs, [0, 0, 0, 0, 1, 1], 2)
    with pytest.raises(ValueError, match="fold 0: .*got 0 genuine"):
        pair_fold_accuracy([0.1, 0.2, 0.3], [0, 1, 0], [0, 1, 1], 2)
