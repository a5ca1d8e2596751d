"""Integers and flags are checked by their type: a cast would change them in silence."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.data import interleaved_folds
from fairloss.evaluation import (
    Pairs,
    evaluate_megaface,
    pair_fold_accuracy,
    pair_scores,
    replace_noisy,
    video_scores,
)
from fairloss.evaluation.verification import PairStatistics

IDENTITIES = [0, 0, 1, 1]
FEATURES = np.eye(4) + 0.1
NOISY = [0, 1, 0, 0]


def excluding(rows: object) -> dict:
    return evaluate_megaface(FEATURES, IDENTITIES, np.eye(4), excluded=rows)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32, ">i2"])
def test_flags_of_every_type_mean_the_same(dtype):
    expected = replace_noisy(FEATURES, IDENTITIES, np.array(NOISY, bool))
    assert np.array_equal(replace_noisy(FEATURES, IDENTITIES, np.array(NOISY, dtype)), expected)
    folds = interleaved_folds(np.array([True, False] * 10))
    assert np.array_equal(interleaved_folds(np.array([1, 0] * 10, dtype)), folds)


@pytest.mark.parametrize("flags", [[0, -1, 0, 0], [0, 0.5, 0, 0], ["0", "1", "0", "0"]])
def test_what_is_no_flag_is_refused(flags):
    with pytest.raises(ValueError, match="noisy: expected True/False or 1/0"):
        replace_noisy(FEATURES, IDENTITIES, flags)
    with pytest.raises(ValueError, match="genuine: expected True/False or 1/0"):
        interleaved_folds(flags * 5)


@pytest.mark.parametrize("rows", [[1.7], [False, True, False, False], [[1]]])
def test_excluded_rows_are_integers(rows):
    with pytest.raises(ValueError, match=r"excluded: expected an \(N,\) array of integers"):
        excluding(rows)


def test_videos_are_integers():
    pairs = Pairs(np.array([0]), np.array([1]), np.array([True]))
    expected = pair_scores(np.stack((FEATURES[:2].mean(0), FEATURES[2:].mean(0))), pairs)
    scores = video_scores(FEATURES, np.array(IDENTITIES, ">u2"), pairs)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"video_of_frame: expected an \(N,\) array of integers"):
        video_scores(FEATURES, np.array([0, 0, 1, 1.5]), pairs)


def test_folds_are_integers():
    scores, genuine, folds = np.linspace(0, 1, 8), [1, 0] * 4, np.repeat([0, 1], 4)
    expected = pair_fold_accuracy(scores, genuine, folds, 2)
    assert pair_fold_accuracy(scores, genuine, folds.astype(np.uint8), 2) == expected
    PairStatistics(scores, np.array(genuine, bool), folds.astype(np.uint8))
    with pytest.raises(ValueError, match=r"fold_of_pair: expected an \(N,\) array of integers"):
        pair_fold_accuracy(scores, genuine, [*folds[:7], 0.5], 2)
