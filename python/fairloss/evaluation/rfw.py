"""Racial Faces in the Wild: four subsets scored apart, and how far they are from each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import check_bootstrap, identity_weights, percentile_interval
from fairloss.evaluation.folds import FoldScores
from fairloss.evaluation.pairs import Pairs, pair_scores
from fairloss.evaluation.ten_fold import REPORT_VERSION, evaluate_pair_list

CONFIDENCE = 0.95


class PairSet(NamedTuple):
    """One list of pairs with its features, as `evaluate_pair_list` takes them."""

    embeddings: npt.ArrayLike
    pairs: Pairs
    fold_of_pair: npt.ArrayLike
    identities: npt.ArrayLike


def evaluate_rfw(
    subsets: Mapping[str, PairSet], *, replicates: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Ten-fold accuracy of each subset, their mean and spread, and the skewed error ratio.

    Thresholds are chosen within each subset, as published: the summary says nothing about one
    threshold for all (see `evaluate_groups`). The skewed error ratio is the largest over the
    smallest error (Wang and Deng, "Mitigating Bias in Face Recognition Using Skewness-Aware
    Reinforcement Learning", CVPR 2020). Subsets are resampled apart, by identity.

    Args:
        subsets: name -> its pairs; RFW has African, Asian, Caucasian and Indian.
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: "subsets" (name -> as `evaluate_pair_list`), "mean", "std"
        (population) and "skewed_error_ratio" (an interval each, or why there is none) and "worst",
        the subset with the lowest accuracy.

    Raises:
        ValueError: fewer than 2 subsets, or as `evaluate_pair_list`.
    """
    if len(subsets) < 2:
        raise ValueError(f"subsets must be at least 2, got {list(subsets)}")
    check_bootstrap(replicates, CONFIDENCE)
    reports = {
        name: evaluate_pair_list(*subset, replicates=replicates, seed=seed)
        for name, subset in subsets.items()
    }
    accuracy = np.array([report["accuracy"]["value"] for report in reports.values()])
    # a seed of its own for each: the subsets share nobody
    drawn = np.array(
        [_accuracies(s, replicates, seed + number) for number, s in enumerate(subsets.values())]
    )
    return {
        "version": REPORT_VERSION,
        "subsets": reports,
        "mean": _interval("mean", accuracy.mean(), drawn.mean(axis=0)),
        "std": _interval("std", accuracy.std(), drawn.std(axis=0)),
        "skewed_error_ratio": _skewed_error_ratio(accuracy, drawn),
        "worst": list(subsets)[int(accuracy.argmin())],
    }


def skewed_error_ratio(accuracies: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Largest over smallest error along the first axis; infinite where a group has no error."""
    error = 1 - np.asarray(accuracies, dtype=np.float64)
    largest, smallest = error.max(axis=0), error.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(smallest > 0, largest / smallest, np.inf)


def _accuracies(subset: PairSet, replicates: int, seed: int) -> npt.NDArray[np.float64]:
    """(replicates,) mean fold accuracy, NaN where a fold was left with one class."""
    scores = pair_scores(subset.embeddings, subset.pairs)
    folds = int(np.asarray(subset.fold_of_pair).max()) + 1
    folded = FoldScores(scores, subset.pairs.genuine, subset.fold_of_pair, folds)
    weights = identity_weights(subset.pairs, subset.identities, replicates, seed)
    found = [folded.mean(weight) for weight in weights]
    return np.array([np.nan if mean is None else mean for mean in found])


def _interval(name: str, value: float, drawn: npt.NDArray[np.float64]) -> dict[str, Any]:
    defined = drawn[np.isfinite(drawn)]
    return percentile_interval(name, value, defined, len(drawn), CONFIDENCE).as_dict()


def _skewed_error_ratio(
    accuracy: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64]
) -> dict[str, Any] | str:
    ratio = float(skewed_error_ratio(accuracy))
    if not np.isfinite(ratio):
        return "not measurable: a subset has no error"
    ratios = skewed_error_ratio(drawn)
    if not np.isfinite(ratios).any():
        return "not measurable: every replicate has a subset without error"
    return _interval("skewed_error_ratio", ratio, ratios)
