"""Verification over a given list of pairs: the protocol of LFW and the sets made after it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import RocStatistic, Weights
from fairloss.evaluation.curve import Roc, RocCorners
from fairloss.evaluation.folds import FoldScores, pair_fold_accuracy
from fairloss.evaluation.insightface import insightface_verification
from fairloss.evaluation.metrics import Verification, verification
from fairloss.evaluation.pairs import Pairs, identity_index, pair_scores
from fairloss.evaluation.statistics import Place, compare, draw_people, with_intervals


def evaluate_pair_list(
    embeddings: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Ten-fold accuracy, AUC, EER and TAR@FAR of listed pairs, with 95% intervals.

    The threshold of a fold is the best on the other folds. TAR@FAR, AUC and EER are over all
    pairs.

    Args:
        embeddings: (N, D) real numbers; normalised here.
        pairs: P pairs of rows.
        fold_of_pair: (P,) fold number 0, 1, ... of each pair.
        identities: (N,) integers or strings, for the identity-clustered bootstrap.
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: as `evaluate_pairs`, with "accuracy" (the interval of the mean) beside
        "fold_accuracy", and "insightface" (an `InsightfaceVerification`).

    Raises:
        ValueError: a fold has no genuine or no impostor pair, a row is zero or not finite, or
            `identities` contradict the pairs.
    """
    scores = pair_scores(embeddings, pairs)
    report = evaluate_scores(
        scores, pairs, fold_of_pair, identities, replicates=replicates, seed=seed
    )
    insightface = insightface_verification(embeddings, pairs, fold_of_pair)
    return report | {"insightface": insightface.as_dict()}


def evaluate_scores(
    scores: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """`evaluate_pair_list` of (P,) scores, higher meaning more similar, without "insightface"."""
    resample = draw_people(pairs, identities, replicates, seed)
    statistics = PairStatistics(scores, pairs.genuine, fold_of_pair)
    return pairs_header(pairs, identities, seed) | with_intervals(statistics, resample)


def compare_pair_list(
    embeddings_a: npt.ArrayLike,
    embeddings_b: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two models on the same list: metrics of b minus metrics of a, with 95% intervals.

    Both are resampled together, so what the draw of people does to both cancels.

    Returns:
        A JSON-ready report: as `compare`, with "auc", "eer", "accuracy" and "tar".

    Raises:
        ValueError: as `evaluate_pair_list`.
    """
    a, b = (pair_scores(embeddings, pairs) for embeddings in (embeddings_a, embeddings_b))
    return compare_scores(a, b, pairs, fold_of_pair, identities, replicates=replicates, seed=seed)


def compare_scores(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """`compare_pair_list` of two times (P,) scores, higher meaning more similar."""
    resample = draw_people(pairs, identities, replicates, seed)
    a, b = (PairStatistics(s, pairs.genuine, fold_of_pair) for s in (scores_a, scores_b))
    return pairs_header(pairs, identities, seed) | compare(a, b, resample)


class PairStatistics:
    """AUC, EER, every measurable TAR and the mean fold accuracy, as functions of pair weights.

    Args:
        scores: (P,) finite, higher means more similar.
        genuine: (P,) bool.
        fold_of_pair: (P,) fold number 0, 1, ... or -1 for a pair in none; None for no accuracy.
    """

    def __init__(
        self,
        scores: npt.ArrayLike,
        genuine: npt.NDArray[np.bool_],
        fold_of_pair: npt.ArrayLike | None = None,
    ) -> None:
        self.verification: Verification = verification(scores, genuine)
        self.point: dict[str, Any] = self.verification.as_dict()
        self._corners = RocCorners(scores, genuine)
        self._of_curve: dict[Place, RocStatistic] = {("auc",): Roc.auc, ("eer",): Roc.eer}
        for far, tar in self.verification.tar.items():
            if tar is not None:
                self._of_curve["tar", str(far)] = partial(Roc.tar_at, far=far)
        self._folded: FoldScores | None = None
        if fold_of_pair is not None:
            folds = int(np.asarray(fold_of_pair).max(initial=-1)) + 1
            self._folded = FoldScores(scores, genuine, fold_of_pair, folds)
            accuracy = pair_fold_accuracy(scores, genuine, fold_of_pair, folds)
            self.point |= {"accuracy": accuracy.mean, "fold_accuracy": accuracy.as_dict()}

    def weighted(self, weights: Weights) -> dict[Place, float | None]:
        curve = self._corners.roc(weights)
        found: dict[Place, float | None] = {
            place: None if curve is None else statistic(curve)
            for place, statistic in self._of_curve.items()
        }
        if self._folded is not None:
            found["accuracy",] = None if curve is None else self._folded.mean(weights)
        return found


def pairs_header(pairs: Pairs, identities: npt.ArrayLike, seed: int) -> dict[str, Any]:
    """What is counted in a report on pairs."""
    people = int(identity_index(identities).max()) + 1
    return {"pairs": len(pairs), "seed": seed, "identities": people}
