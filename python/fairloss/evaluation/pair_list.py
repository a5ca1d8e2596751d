"""Verification over a given list of pairs: the protocol of LFW and the sets made after it."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from fairloss.evaluation.insightface import insightface_verification
from fairloss.evaluation.pairs import Pairs, identity_index, pair_scores
from fairloss.evaluation.protocol_report import pair_sampling, protocol_report
from fairloss.evaluation.sides import network_arrays
from fairloss.evaluation.verification import PairStatistics


def evaluate_pair_list(
    embeddings: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute ten-fold accuracy, AUC, EER and TAR@FAR of listed pairs, with 95% intervals.

    The threshold of a fold is the best on the other folds. TAR@FAR, AUC and EER are over all
    pairs.

    Args:
        embeddings: (N, D) real numbers; normalized here.
        pairs: P pairs of rows.
        fold_of_pair: (P,) fold number 0, 1, ... of each pair.
        identities: (N,) integers or strings, of the samples, for the intervals.
        replicates: of the bootstrap that checks the intervals, 0 for none.
        seed: of the bootstrap.

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
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Evaluate as `evaluate_pair_list`, from (P,) scores and without "insightface".

    A higher score means more similar.
    """
    return _report([[scores]], pairs, fold_of_pair, identities, replicates, seed)


def compare_pair_list(
    embeddings_a: npt.ArrayLike,
    embeddings_b: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same list: metrics of b minus metrics of a, with 95% intervals.

    Each takes the embeddings of one network or of several, as `compare_pairs`.

    Returns:
        A JSON-ready report: as `compare`, with "auc", "eer", "accuracy" and "tar".

    Raises:
        ValueError: as `evaluate_pair_list`.
    """
    models = {"embeddings_a": embeddings_a, "embeddings_b": embeddings_b}
    a, b = (
        [pair_scores(each, pairs) for each in network_arrays(name, embeddings, 2)]
        for name, embeddings in models.items()
    )
    return compare_scores(a, b, pairs, fold_of_pair, identities, replicates=replicates, seed=seed)


def compare_scores(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare as `compare_pair_list`, from scores, higher is more similar.

    They are (P,), or (S, P) or a list of those of S networks.
    """
    sides = [network_arrays("scores_a", scores_a, 1), network_arrays("scores_b", scores_b, 1)]
    return _report(sides, pairs, fold_of_pair, identities, replicates, seed)


def pairs_header(pairs: Pairs, identities: npt.ArrayLike, seed: int) -> dict[str, Any]:
    """Return the counts at the head of a report on pairs."""
    index = identity_index(identities)
    return {"pairs": len(pairs), "seed": seed, "identities": int(index.max()) + 1}


def _report(
    sides: Sequence[Sequence[npt.ArrayLike]],
    pairs: Pairs,
    fold_of_pair: npt.ArrayLike,
    identities: npt.ArrayLike,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    statistics = [
        [PairStatistics(scores, pairs.genuine, fold_of_pair) for scores in side] for side in sides
    ]
    sampling = pair_sampling(pairs, identities, replicates, seed)
    return pairs_header(pairs, identities, seed) | protocol_report(statistics, sampling)
