"""The numbers of insightface's verification.py, recorded once on the same embeddings.

insightface_numbers.json holds what `evaluate` of arcface_torch/eval/verification.py returned for
the cases of pair_cases.py, run side by side. (Its `interp1d(kind="slinear")` refuses repeated x in
current SciPy; kind="linear" is the same line and was used.)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pair_cases import CASES, as_pairs, pair_case

from fairloss.data import contiguous_folds
from fairloss.evaluation import Pairs, insightface_verification, pair_fold_accuracy, pair_scores

RECORDED = json.loads(
    (Path(__file__).parent / "insightface_numbers.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_insightface(name):
    embeddings, genuine = pair_case(*CASES[name])
    result = insightface_verification(embeddings, as_pairs(genuine), contiguous_folds(len(genuine)))
    for key, value in RECORDED[name].items():
        np.testing.assert_allclose(result.as_dict()[key], value, rtol=0, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_a_threshold_between_scores_differs_by_little(name):
    # The threshold lies between two scores, insightface's on a grid of 0.01.
    embeddings, genuine = pair_case(*CASES[name])
    scores = pair_scores(embeddings, as_pairs(genuine))
    accuracy = pair_fold_accuracy(scores, genuine, contiguous_folds(len(genuine)), 10)
    assert accuracy.mean == pytest.approx(RECORDED[name]["accuracy"], abs=0.015)


def test_two_folds_by_hand():
    # Unit features in the plane at 0, 10, 60 and 90 degrees.
    angle = np.radians([0, 10, 60, 90])
    embeddings = np.stack((np.cos(angle), np.sin(angle)), axis=1) * [[1], [5], [2], [0.1]]
    first, second = np.array([0, 0, 0, 0]), np.array([1, 2, 1, 3])
    pairs = Pairs(first, second, np.array([True, False, True, False]))
    # squared distances 2 - 2 cos: 0.030, 1, 0.030, 2. Fold 1 alone separates from 0.04 on, the
    # first such threshold; at it both pairs of fold 0 are right, and the other way round.
    result = insightface_verification(embeddings, pairs, [0, 0, 1, 1])
    assert result.accuracies == (1.0, 1.0)
    assert result.std == 0.0
    # FAR 1e-3 is reached on the line between 1.999 and 2.000 (fold 1) or 1.000 and 1.001.
    assert (result.val, result.far) == (1.0, 0.5)


def test_a_fold_of_one_class_is_named():
    pairs = Pairs(np.zeros(4, int), np.arange(4), np.array([True, True, False, True]))
    with pytest.raises(ValueError, match="fold 0: .*got 2 genuine and 0 impostor"):
        insightface_verification(np.eye(4), pairs, [0, 0, 1, 1])
