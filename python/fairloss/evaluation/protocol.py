"""All-against-all verification: a report on one model and a comparison of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.folds import fold_within, identity_folds
from fairloss.evaluation.pairs import Pairs, all_pairs, identity_index, pair_scores
from fairloss.evaluation.statistics import UNMEASURED, compare, draw_people, with_intervals
from fairloss.evaluation.ten_fold import PairStatistics

MAX_FOLDS = 10  # as LFW


def evaluate_pairs(
    embeddings: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    folds: int | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Verification metrics over every pair of samples, with 95% intervals.

    Time and memory grow with N^2; each bootstrap replicate makes a few passes over all
    N (N - 1) / 2 pairs.

    Args:
        embeddings: (N, D) real numbers; normalised here.
        identities: (N,) integers or strings.
        folds: number of identity-disjoint folds. By default 10, or as many as can be given 2
            identities, one of them with several samples.
        replicates: of the identity-clustered bootstrap.
        seed: of the folds and of the bootstrap.

    Returns:
        A JSON-ready report: "version", "samples", "identities", "seed", "genuine",
        "impostor", "auc" and "eer" (an `Interval`), "tar" (FAR -> `Interval`), "thresholds"
        (FAR -> score), "accuracy" (`Interval` of the mean over folds) and "fold_accuracy" (a
        `FoldAccuracy`). In place of what cannot be measured stands a string that says why.

    Raises:
        ValueError: embeddings and identities differ in length, a row is zero or not finite,
            there is no genuine or no impostor pair, or the given folds cannot be filled.
    """
    _check_lengths("embeddings", embeddings, identities)
    pairs = all_pairs(identities)
    statistics = _statistics(embeddings, pairs, identities, folds, seed)
    resample = draw_people(pairs, identities, replicates, seed)
    return _header(identities, seed) | with_intervals(statistics, resample)


def compare_pairs(
    embeddings_a: npt.ArrayLike,
    embeddings_b: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two models on the same samples: metrics of b minus metrics of a, with 95% intervals.

    Both are resampled together, so what the draw of people does to both cancels.

    Args:
        embeddings_a, embeddings_b: (N, D_a) and (N, D_b) real numbers; normalised here.
        identities: (N,) integers or strings.
        replicates: of the identity-clustered bootstrap.
        seed: of the folds and of the bootstrap.

    Returns:
        A JSON-ready report: "samples", "identities", "seed", and as `compare`, with "auc", "eer",
        "accuracy" and "tar".

    Raises:
        ValueError: as `evaluate_pairs`.
    """
    _check_lengths("embeddings_a", embeddings_a, identities)
    _check_lengths("embeddings_b", embeddings_b, identities)
    pairs = all_pairs(identities)
    a, b = (
        _statistics(embeddings, pairs, identities, None, seed)
        for embeddings in (embeddings_a, embeddings_b)
    )
    resample = draw_people(pairs, identities, replicates, seed)
    return _header(identities, seed) | compare(a, b, resample)


def _check_lengths(name: str, embeddings: npt.ArrayLike, identities: npt.ArrayLike) -> None:
    samples, labels = len(np.asarray(embeddings)), len(np.asarray(identities))
    if samples != labels:
        raise ValueError(f"{name} has {samples} rows but identities has {labels} entries")


def _header(identities: npt.ArrayLike, seed: int) -> dict[str, Any]:
    index = identity_index(identities)
    return {"samples": len(index), "identities": int(index.max()) + 1, "seed": seed}


def _statistics(
    embeddings: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    folds: int | None,
    seed: int,
) -> PairStatistics:
    """Accuracy over identity-disjoint folds, of the pairs within a fold, where they can be had."""
    scores = pair_scores(embeddings, pairs)
    if folds is None:
        samples = np.bincount(identity_index(identities))
        several = int((samples > 1).sum())
        folds = min(MAX_FOLDS, len(samples) // 2, several)
        if folds < 2:
            statistics = PairStatistics(scores, pairs.genuine)
            people = f"{len(samples)} identities, {several} with several samples"
            statistics.point["accuracy"] = f"{UNMEASURED} with {people}"
            statistics.point["fold_accuracy"] = statistics.point["accuracy"]
            return statistics
    fold_of_sample = identity_folds(identities, folds, seed)
    return PairStatistics(scores, pairs.genuine, fold_within(fold_of_sample, pairs))
