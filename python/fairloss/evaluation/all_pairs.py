"""Verification over all pairs of samples: a report on one model and a comparison of two."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_length, expect
from fairloss.evaluation.folds import fold_within, identity_folds
from fairloss.evaluation.pairs import Pairs, identity_index, pair_scores
from fairloss.evaluation.protocol_report import Unmeasured, pair_sampling, protocol_report
from fairloss.evaluation.sides import network_arrays
from fairloss.evaluation.verification import PairStatistics

MAX_FOLDS = 10  # as LFW


def all_pairs(identities: npt.ArrayLike) -> Pairs:
    """Return every unordered pair of different samples, once: N (N - 1) / 2 of them.

    Args:
        identities: (N,) integers or strings.
    """
    index = identity_index(identities)
    first, second = np.triu_indices(len(index), k=1)
    return Pairs(first.astype(np.int64), second.astype(np.int64), index[first] == index[second])


def evaluate_pairs(
    embeddings: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    folds: int | None = None,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute verification metrics over every pair of samples, with 95% intervals.

    Time and memory grow with N^2: an interval takes a few passes over all N (N - 1) / 2 pairs, and
    so does each replicate of the bootstrap.

    Args:
        embeddings: (N, D) real numbers; normalized here.
        identities: (N,) integers or strings.
        folds: number of identity-disjoint folds. By default 10, or as many as can be given 2
            identities, one of them with several samples.
        replicates: of the bootstrap, whose interval is then added to each as "bootstrap", as a
            check; 0 for none.
        seed: of the folds and of the bootstrap.

    Returns:
        A JSON-ready report: "version", "samples", "identities", "seed", "genuine",
        "impostor", "auc" and "eer" (an `IdentityInterval`), "tar" (FAR -> `IdentityInterval`),
        "thresholds" (FAR -> score), "accuracy" (`IdentityInterval` of the mean over folds) and
        "fold_accuracy" (a `FoldAccuracy`); "warnings" where there are few identities. A number that
        cannot be measured is replaced by the reason.

    Raises:
        ValueError: embeddings and identities differ in length, a row is zero or not finite,
            there is no genuine or no impostor pair, or the given folds cannot be filled.
    """
    shape = np.shape(embeddings)  # several networks a side are for `compare_pairs`
    expect(len(shape) == 2, "embeddings", "an (N, D) array of real numbers", f"shape {shape}")
    return _report({"embeddings": embeddings}, identities, folds, replicates, seed)


def compare_pairs(
    embeddings_a: npt.ArrayLike,
    embeddings_b: npt.ArrayLike,
    identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same samples: metrics of b minus metrics of a, with 95% intervals.

    The effects of a pair on both are subtracted, so what an identity does to both cancels. The
    difference of two networks is not that of the methods that trained them: for these pass the
    embeddings of networks of several seeds each.

    Args:
        embeddings_a: (N, D_a) real numbers, or (S, N, D_a) or a list of those of S networks;
            normalized here.
        embeddings_b: (N, D_b), (S, N, D_b) or a list, likewise.
        identities: (N,) integers or strings.
        replicates: of the bootstrap, whose interval is then added to each as "bootstrap", as a
            check; 0 for none.
        seed: of the folds and of the bootstrap.

    Returns:
        A JSON-ready report: "samples", "identities", "seed", and as `compare`, with "auc", "eer",
        "accuracy" and "tar".

    Raises:
        ValueError: as `evaluate_pairs`.
    """
    models = {"embeddings_a": embeddings_a, "embeddings_b": embeddings_b}
    return _report(models, identities, None, replicates, seed)


def _report(
    models: dict[str, npt.ArrayLike],
    identities: npt.ArrayLike,
    folds: int | None,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    index = identity_index(identities)
    sides = {name: network_arrays(name, embeddings, 2) for name, embeddings in models.items()}
    for name, side in sides.items():
        for embeddings in side:
            check_length(name, len(embeddings), len(index), "rows, as identities")
    pairs = all_pairs(index)
    statistics = [
        [_statistics(x, pairs, index, folds, seed) for x in side] for side in sides.values()
    ]
    header = {"samples": len(index), "identities": int(index.max()) + 1, "seed": seed}
    return header | protocol_report(statistics, pair_sampling(pairs, index, replicates, seed))


def _statistics(
    embeddings: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    folds: int | None,
    seed: int,
) -> PairStatistics:
    """Score pairs; accuracy is over the pairs within identity-disjoint folds, where possible."""
    scores = pair_scores(embeddings, pairs)
    if folds is None:
        samples = np.bincount(identity_index(identities))
        several = int((samples > 1).sum())
        folds = min(MAX_FOLDS, len(samples) // 2, several)
        if folds < 2:
            statistics = PairStatistics(scores, pairs.genuine)
            reason = Unmeasured(
                f"not measurable with {len(samples)} identities, {several} with several samples"
            )
            statistics.point |= {"accuracy": reason, "fold_accuracy": reason}
            return statistics
    fold_of_sample = identity_folds(identities, folds, seed)
    return PairStatistics(scores, pairs.genuine, fold_within(fold_of_sample, pairs))
