import json

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from fairloss.evaluation import verification


def scored(pairs=300, levels=40, seed=0):
    """Overlapping scores with many ties."""
    generator = np.random.default_rng(seed)
    genuine = generator.random(pairs) < 0.3
    scores = np.round((generator.normal(size=pairs) + genuine) * levels / 6) / levels
    return scores.astype(np.float32), genuine


def tar_by_search(scores, genuine, far):
    """Try every threshold, and one above all scores."""
    best = 0.0
    for threshold in np.unique(scores):
        accepted = scores >= threshold
        if accepted[~genuine].mean() <= far:
            best = max(best, accepted[genuine].mean())
    return best


@pytest.mark.parametrize("weighting", [None, "integer", "fraction"])
@pytest.mark.parametrize("levels", [3, 40, 10**9])
def test_auc_against_sklearn(levels, weighting):
    scores, genuine = scored(levels=levels)
    generator = np.random.default_rng(1)
    weights = {
        None: None,
        "integer": generator.integers(0, 4, len(scores)),
        "fraction": generator.random(len(scores)),
    }[weighting]
    expected = roc_auc_score(genuine, scores, sample_weight=weights)
    assert verification(scores, genuine, weights).auc == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_tar_against_search_over_thresholds(seed):
    scores, genuine = scored(seed=seed)
    impostors = int((~genuine).sum())
    fars = (0.5, 0.1, 0.03, 3 / impostors, 1 / impostors)
    metrics = verification(scores, genuine, far=fars)
    for far in fars:
        assert metrics.tar[far] == tar_by_search(scores, genuine, far)
        accepted = scores >= metrics.thresholds[far]
        assert accepted[genuine].mean() == metrics.tar[far]
        assert accepted[~genuine].mean() <= far


def test_tar_by_hand():
    # From the top: genuine, genuine, impostor, genuine, then one of each at 0.2, then impostors.
    scores = [0.9, 0.8, 0.7, 0.6, 0.2, 0.2, 0.1, 0.0]
    genuine = [1, 1, 0, 1, 1, 0, 0, 0]
    metrics = verification(scores, genuine, far=(0.49, 0.25, 0.24, 0.5))
    assert metrics.tar == {0.49: 0.75, 0.25: 0.75, 0.24: None, 0.5: 1.0}
    assert metrics.thresholds == {0.49: 0.6, 0.25: 0.6, 0.24: None, 0.5: 0.2}
    assert (metrics.genuine, metrics.impostor) == (4, 4)
    # Impostors below each genuine score: 4, 4, 3 and 2 + 1/2, of 16 comparisons.
    assert metrics.auc == pytest.approx(13.5 / 16)


def test_impostor_tied_with_the_best_genuine_score_costs_everything():
    metrics = verification([0.9, 0.9, 0.1], [1, 0, 0], far=(0.5, 0.4))
    assert metrics.tar == {0.5: 1.0, 0.4: None}
    metrics = verification([0.9, 0.9, 0.9, 0.1], [1, 0, 0, 0], far=(0.34,))
    assert metrics.tar[0.34] == 0.0
    assert metrics.thresholds[0.34] > 0.9


@pytest.mark.parametrize("impostors", [10, 49, 98, 103, 1000])  # 1 / 49 * 49 < 1 in float64
def test_far_of_exactly_one_impostor_is_measurable(impostors):
    # One impostor is the best of all; a lone genuine pair comes next.
    scores = np.concatenate(([0.9], np.linspace(0, 0.5, impostors - 1), [0.7]))
    genuine = np.arange(impostors + 1) == impostors
    metrics = verification(scores, genuine, far=(1 / impostors, 0.999 / impostors))
    assert metrics.tar[1 / impostors] == 1.0
    assert metrics.tar[0.999 / impostors] is None


def test_equal_scores_have_an_auc_of_one_half():
    metrics = verification([0.5] * 6, [1, 1, 0, 0, 0, 0], far=(1.0, 0.5))
    assert metrics.auc == 0.5
    assert metrics.eer == 0.5
    assert metrics.tar == {1.0: 1.0, 0.5: 0.0}


def test_perfect_and_reversed_scores():
    perfect = verification([0.9, 0.8, 0.1, 0.0], [1, 1, 0, 0], far=(0.5,))
    assert (perfect.auc, perfect.eer, perfect.tar[0.5]) == (1.0, 0.0, 1.0)
    reversed_ = verification([0.9, 0.8, 0.1, 0.0], [0, 0, 1, 1], far=(0.5,))
    assert (reversed_.auc, reversed_.eer, reversed_.tar[0.5]) == (0.0, 1.0, 0.0)


def test_eer_by_hand():
    # One of four genuine pairs below, one of four impostors above, any threshold in between.
    scores = [0.9, 0.8, 0.7, 0.1, 0.6, 0.05, 0.04, 0.03]
    assert verification(scores, [1, 1, 1, 1, 0, 0, 0, 0]).eer == 0.25


@pytest.mark.parametrize("seed", range(5))
def test_eer_against_root_finding(seed):
    scores, genuine = scored(seed=seed)
    far, tar, _ = roc_curve(genuine, scores)
    expected = brentq(lambda x: 1 - x - interp1d(far, tar)(x), 0, 1)
    assert verification(scores, genuine).eer == pytest.approx(expected, abs=1e-9)


def test_integer_weights_are_duplicates_and_zero_is_absence():
    scores, genuine = scored()
    weights = np.random.default_rng(1).integers(0, 4, len(scores))
    metrics = verification(scores, genuine, weights, far=(0.5, 0.1, 0.02))
    repeated = verification(
        np.repeat(scores, weights), np.repeat(genuine, weights), far=(0.5, 0.1, 0.02)
    )
    assert metrics.auc == pytest.approx(repeated.auc)
    assert metrics.eer == pytest.approx(repeated.eer)
    assert metrics.tar == pytest.approx(repeated.tar)
    assert metrics.thresholds == repeated.thresholds
    assert metrics.genuine == (genuine & (weights > 0)).sum()


def test_scaling_the_weights_changes_nothing():
    scores, genuine = scored()
    fars = (0.5, 0.1, 1 / (~genuine).sum())
    plain = verification(scores, genuine, far=fars)
    scaled = verification(scores, genuine, np.full(len(scores), 0.1), far=fars)
    assert scaled.tar == pytest.approx(plain.tar)
    assert scaled.thresholds == plain.thresholds


def test_order_of_the_pairs_does_not_matter():
    scores, genuine = scored()
    order = np.random.default_rng(2).permutation(len(scores))
    assert verification(scores, genuine) == verification(scores[order], genuine[order])


def test_as_dict_is_json_and_has_the_reason_for_what_cannot_be_measured():
    scores, genuine = scored()
    report = json.loads(json.dumps(verification(scores, genuine).as_dict()))
    impostors = int((~genuine).sum())
    assert report["tar"]["1e-06"] == f"not measurable with {impostors} impostors"
    assert report["thresholds"]["1e-06"] is None
    assert report["tar"]["0.1"] == tar_by_search(scores, genuine, 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1, 0.2], [1, 1]), "2 genuine and 0 impostor"),
        (([0.1, 0.2], [0, 0]), "0 genuine and 2 impostor"),
        (([0.1, np.nan], [1, 0]), "nan at 1"),
        (([0.1, np.inf], [1, 0]), "inf at 1"),
        (([0.1, 0.2, 0.3], [1, 0]), "genuine: expected shape"),
        (([0.1, 0.2], [1, -1]), "True/False"),
        (([0.1, 0.2], [1, 0], [1.0]), "weights"),
        (([0.1, 0.2], [1, 0], [1.0, -1.0]), "non-negative"),
        (([0.1, 0.2], [1, 0], [1.0, 0.0]), "1 genuine and 0 impostor"),
        (([0.1, 0.2], [1, 0], None, (0.0,)), "far"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        verification(*arguments)
