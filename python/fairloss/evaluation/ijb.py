"""IJB-B and IJB-C: template pooling, 1:1 verification and open-set 1:N identification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.clusters import cluster_mean
from fairloss.evaluation.curve import SortedScores
from fairloss.evaluation.metrics import FARS, check_fars, verification
from fairloss.evaluation.open_set import Search
from fairloss.evaluation.pairs import unit_embeddings
from fairloss.evaluation.ten_fold import REPORT_VERSION

FPIRS = (0.01, 0.1)
RANKS = (1, 5, 10)


class Templates(NamedTuple):
    """(T,) template numbers, rising, and their (T, D) unit features."""

    number: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]

    def rows(self, numbers: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Row of each template number; ValueError if one has no feature."""
        wanted = np.asarray(numbers)
        row = np.searchsorted(self.number, wanted).clip(max=len(self.number) - 1)
        unknown = self.number[row] != wanted
        if unknown.any():
            raise ValueError(
                f"template {wanted[unknown][0]} has no image ({unknown.sum()} such templates)"
            )
        return row


def pool_templates(
    embeddings: npt.ArrayLike,
    template: npt.ArrayLike,
    media: npt.ArrayLike,
    detector_score: npt.ArrayLike | None = None,
) -> Templates:
    """One feature for each template, as published: insightface's `ijb_11.py`.

    Features of image plus mirror, *not* normalised, times the detector's score; mean over the
    images of one medium (the frames of a video) within the template, sum over media, then L2.
    Norm and detector score so act as quality; normalising before pooling gives other numbers.

    Args:
        embeddings: (N, D) features, not normalised.
        template, media: (N,) integers.
        detector_score: (N,), default all 1.

    Raises:
        ValueError: lengths differ, or a template's features cancel to zero.
    """
    features = np.asarray(embeddings)
    numbers, medium = np.asarray(template), np.asarray(media)
    score = np.ones(len(features)) if detector_score is None else np.asarray(detector_score)
    if not len(features) == len(numbers) == len(medium) == len(score):
        raise ValueError(
            f"embeddings, template, media and detector_score must be of one length, got "
            f"{len(features)}, {len(numbers)}, {len(medium)} and {len(score)}"
        )
    order = np.lexsort((medium, numbers))
    pair = np.stack((numbers[order], medium[order]), axis=1)
    start = np.flatnonzero(np.append(True, (pair[1:] != pair[:-1]).any(axis=1)))
    images = np.diff(np.append(start, len(pair)))
    weighted = features[order] * score[order, None].astype(np.float64)
    per_medium = np.add.reduceat(weighted, start) / images[:, None]
    found, first = np.unique(pair[start, 0], return_index=True)
    return Templates(found, unit_embeddings(np.add.reduceat(per_medium, first)))


def evaluate_ijb_verification(
    scores: npt.ArrayLike,
    genuine: npt.ArrayLike,
    subjects: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """1:1 verification of template pairs: TAR at FAR 1e-6..1e-1.

    Args:
        scores: (P,) cosine of each pair of templates.
        genuine: (P,) bool.
        subjects: (P,) the person of the first template of each pair; genuine pairs of one person
            are resampled together, at the thresholds of the data (with millions of impostor pairs
            the thresholds move little, and re-ranking each replicate would take hours).
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: as `verification`, with "tar_interval" (FAR -> interval) and
        "tar_nearest" (FAR -> TAR at the point of the ROC whose FAR is nearest, the convention of
        insightface's table, unstable at 1e-6).
    """
    values, same = np.asarray(scores), np.asarray(genuine, dtype=np.bool_)
    point = verification(values, same)
    people = np.asarray(subjects)[same]
    intervals = {
        str(far): cluster_mean(values[same] >= threshold, people, replicates, seed).as_dict()
        for far, threshold in point.thresholds.items()
        if threshold is not None
    }
    return (
        {"version": REPORT_VERSION, "seed": seed}
        | point.as_dict()
        | {"tar_interval": intervals}
        | {"tar_nearest": {str(far): tar for far, tar in nearest_tar(values, same, FARS).items()}}
    )


def nearest_tar(
    scores: npt.ArrayLike, genuine: npt.ArrayLike, far: Sequence[float]
) -> dict[float, float]:
    """TAR at the corner of the ROC whose FAR is nearest; of equally near ones the laxer.

    Corners, as scikit-learn's `roc_curve` keeps them by default, not all points: this is what
    published tables were made with.
    """
    curve = SortedScores(scores, genuine).roc()
    kept = np.ones(len(curve.far), dtype=np.bool_)
    # rounding leaves 1e-16 on a straight line; the smallest step is 1 / pairs, above 1e-8
    bends = (np.abs(np.diff(curve.far, 2)) > 1e-12) | (np.abs(np.diff(curve.tar, 2)) > 1e-12)
    kept[1:-1] = bends
    rates, tar = curve.far[kept][::-1], curve.tar[kept][::-1]
    return {f: float(tar[np.argmin(np.abs(rates - f))]) for f in check_fars(far)}


def evaluate_ijb_identification(
    searches: Mapping[str, Search],
    probe_subject: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """1:N identification: closed-set ranks and open-set TPIR@FPIR, over the galleries' average.

    A probe is mated in one gallery and unmated in the other, so each gallery is a search of its
    own; published numbers are means over the two (Maze et al., "IARPA Janus Benchmark - C", 2018).

    Args:
        searches: name of the gallery -> its search, of the same probes.
        probe_subject: (Q,), for the bootstrap (at the thresholds of the data).
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: "galleries" (name -> "mated", "unmated", "rank" and "tpir") and
        "mean" of "rank" and "tpir", where all galleries have a number.
    """
    subjects = np.asarray(probe_subject)
    found: dict[str, dict[str, Any]] = {}
    for name, search in searches.items():
        people = subjects[search.mated]
        rank: dict[str, Any] = {
            str(r): cluster_mean(search.rank[search.mated] < r, people, replicates, seed).as_dict()
            for r in RANKS
        }
        tpir: dict[str, Any] = {}
        for fpir in FPIRS:
            at = search.tpir_at(fpir)
            unmated = int((~search.mated).sum())
            tpir[str(fpir)] = (
                f"not measurable with {unmated} unmated probes"
                if at is None
                else cluster_mean(search.hits(at[1]), people, replicates, seed).as_dict()
                | {"threshold": at[1]}
            )
        counts = {"mated": int(search.mated.sum()), "unmated": int((~search.mated).sum())}
        found[name] = counts | {"rank": rank, "tpir": tpir}
    return {
        "version": REPORT_VERSION,
        "seed": seed,
        "galleries": found,
        "mean": {key: _means([g[key] for g in found.values()]) for key in ("rank", "tpir")},
    }


def _means(tables: list[dict[str, Any]]) -> dict[str, float | str]:
    means: dict[str, float | str] = {}
    for key in tables[0]:
        values = [table[key] for table in tables]
        reasons = [value for value in values if isinstance(value, str)]
        means[key] = reasons[0] if reasons else float(np.mean([v["value"] for v in values]))
    return means
