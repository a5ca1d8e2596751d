"""The ROC curve and its corners, against scikit-learn and counting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from fairloss.evaluation import RocCorners, SortedScores, roc


@pytest.mark.parametrize("levels", [2, 10, 10**6])
def test_corners_have_the_numbers_of_the_whole_curve(levels):
    generator = np.random.default_rng(levels)
    for pairs in (6, 30, 500):
        genuine = generator.random(pairs) < 0.3
        genuine[:2] = True, False
        noise = generator.normal(size=pairs) + genuine
        scores = (np.round(noise * levels) / levels).astype(np.float32)
        weights = generator.integers(0, 3, pairs).astype(float)
        weights[:2] = 1
        whole = SortedScores(scores, genuine).roc(weights)
        corners = RocCorners(scores, genuine).roc(weights)
        assert corners.auc() == pytest.approx(whole.auc())
        assert corners.eer() == pytest.approx(whole.eer())
        for far in (0.5, 0.1, 0.03, 0.01):
            assert corners.tar_at(far) == whole.tar_at(far)
        for far, tar, threshold in zip(*corners, strict=True):
            accepted = weights * (scores >= threshold)
            assert tar == pytest.approx(accepted[genuine].sum() / weights[genuine].sum())
            assert far == pytest.approx(accepted[~genuine].sum() / weights[~genuine].sum())
    assert RocCorners([1.0, 0.0], [1, 0]).roc(np.array([0.0, 1.0])) is None


def test_roc_against_sklearn():
    generator = np.random.default_rng(0)
    genuine = generator.random(300) < 0.3
    scores = np.round((generator.normal(size=300) + genuine) * 40 / 6) / 40  # many ties
    far, tar, threshold = roc(scores, genuine)
    expected = roc_curve(genuine, scores, drop_intermediate=False)
    np.testing.assert_allclose(far, expected[0])
    np.testing.assert_allclose(tar, expected[1])
    np.testing.assert_array_equal(threshold[1:], expected[2][1:])
    assert not (scores >= threshold[0]).any()


def test_weights_that_leave_one_class():
    with pytest.raises(ValueError, match="weights: expected at least one genuine"):
        SortedScores([0.1, 0.2], [1, 0]).roc(np.array([0.0, 1.0]))
