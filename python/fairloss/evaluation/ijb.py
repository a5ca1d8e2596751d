"""IJB-B and IJB-C: 1:1 verification and open-set 1:N identification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.bootstrap import Weights
from fairloss.evaluation.clusters import cluster_intervals
from fairloss.evaluation.curve import RocCorners, SortedScores
from fairloss.evaluation.metrics import FARS, check_fars
from fairloss.evaluation.open_set import Search
from fairloss.evaluation.pairs import Pairs
from fairloss.evaluation.statistics import UNMEASURED, Place, compare, draw_people, with_intervals
from fairloss.evaluation.ten_fold import PairStatistics

FPIRS = (0.01, 0.1)
RANKS = (1, 5, 10)
NEVER = -2.0  # of a mate that is not first: below every cosine, accepted at FPIR 1 only


def evaluate_ijb_verification(
    scores: npt.ArrayLike,
    pairs: Pairs,
    subjects: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """1:1 verification of template pairs: TAR at FAR 1e-6..1e-1, AUC and EER.

    Args:
        scores: (P,) cosine of each pair of templates.
        pairs: P pairs of templates.
        subjects: (T,) the person of each template, as `linked_identities` finds them.
        replicates, seed: of the identity-clustered bootstrap.

    Returns:
        A JSON-ready report: as `Verification`, with intervals, and "tar_nearest" (FAR -> TAR at the
        point of the ROC whose FAR is nearest, the convention of insightface's table, unstable at
        1e-6).
    """
    resample = draw_people(pairs, subjects, replicates, seed)
    statistics = PairStatistics(scores, pairs.genuine)
    nearest = {str(far): tar for far, tar in nearest_tar(scores, pairs.genuine, FARS).items()}
    return {"seed": seed} | with_intervals(statistics, resample) | {"tar_nearest": nearest}


def compare_ijb_verification(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    pairs: Pairs,
    subjects: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two models on the same template pairs: b minus a under the same draws; see `compare`."""
    resample = draw_people(pairs, subjects, replicates, seed)
    a, b = (PairStatistics(scores, pairs.genuine) for scores in (scores_a, scores_b))
    return {"seed": seed} | compare(a, b, resample)


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
        probe_subject: (Q,), for the bootstrap: the probes' people are drawn, for all galleries at
            once, and the galleries stay as they are.
        replicates, seed: of the bootstrap.

    Returns:
        A JSON-ready report: "galleries" (name -> "mated", "unmated", "rank", "tpir" and
        "thresholds") and "mean" of "rank" and "tpir", where all galleries have a number.
    """
    resample = partial(cluster_intervals, clusters=probe_subject, replicates=replicates, seed=seed)
    return {"seed": seed} | with_intervals(IdentificationStatistics(searches), resample)


def compare_ijb_identification(
    a: Mapping[str, Search],
    b: Mapping[str, Search],
    probe_subject: npt.ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Two models on the same probes and galleries: b minus a under the same draws; see `compare`.

    Raises:
        ValueError: the galleries differ in name or in the probes that have a mate.
    """
    for name in a.keys() | b.keys():
        if name not in a or name not in b or not np.array_equal(a[name].mated, b[name].mated):
            raise ValueError(f"a and b must search the same galleries, not so in {name!r}")
    resample = partial(cluster_intervals, clusters=probe_subject, replicates=replicates, seed=seed)
    of_a, of_b = IdentificationStatistics(a), IdentificationStatistics(b)
    return {"seed": seed} | compare(of_a, of_b, resample)


class IdentificationStatistics:
    """Ranks and TPIR@FPIR of each gallery and their means, as functions of weights of probes.

    The threshold is that of the weights: TPIR@FPIR is the TAR@FAR of mates that come first against
    the best scores of unmated probes.
    """

    def __init__(self, searches: Mapping[str, Search]) -> None:
        self._searches = searches
        self._corners = {name: _first_against_unmated(s) for name, s in searches.items()}
        galleries = {name: _gallery(search) for name, search in searches.items()}
        means = {
            key: _means([gallery[key] for gallery in galleries.values()])
            for key in ("rank", "tpir")
        }
        self.point: dict[str, Any] = {"galleries": galleries, "mean": means}

    def weighted(self, weights: Weights) -> dict[Place, float | None]:
        """ "rank" and "tpir" of each gallery that can be measured, and their means."""
        found: dict[Place, float | None] = {}
        for name, search in self._searches.items():
            own = weights[search.mated]
            total = own.sum()
            for rank in RANKS:
                hit = own @ (search.rank[search.mated] < rank)
                found["galleries", name, "rank", str(rank)] = hit / total if total else None
            curve = None if (corners := self._corners[name]) is None else corners.roc(weights)
            for fpir, value in self.point["galleries"][name]["tpir"].items():
                if not isinstance(value, str):
                    tpir = None if curve is None else curve.tar_at(float(fpir))
                    found["galleries", name, "tpir", fpir] = tpir
        for key, table in self.point["mean"].items():
            for at, value in table.items():
                if not isinstance(value, str):
                    values = [found["galleries", name, key, at] for name in self._searches]
                    found["mean", key, at] = _mean(values)
        return found


def _first_against_unmated(search: Search) -> RocCorners | None:
    """The score of each mated probe whose mate comes first, and the best of each unmated one."""
    if search.mated.all() or not search.mated.any():
        return None
    first = np.where(search.rank == 0, search.mate_score, np.float32(NEVER))
    return RocCorners(np.where(search.mated, first, search.best_other), search.mated)


def _gallery(search: Search) -> dict[str, Any]:
    unmated = int((~search.mated).sum())
    at = {str(fpir): search.tpir_at(fpir) for fpir in FPIRS}
    reason = f"{UNMEASURED} with {unmated} unmated probes"
    return {
        "mated": int(search.mated.sum()),
        "unmated": unmated,
        "rank": {str(r): float((search.rank[search.mated] < r).mean()) for r in RANKS},
        "tpir": {fpir: reason if found is None else found[0] for fpir, found in at.items()},
        "thresholds": {fpir: None if found is None else found[1] for fpir, found in at.items()},
    }


def _means(tables: list[dict[str, Any]]) -> dict[str, float | str]:
    means: dict[str, float | str] = {}
    for key in tables[0]:
        values = [table[key] for table in tables]
        reasons = [value for value in values if isinstance(value, str)]
        means[key] = reasons[0] if reasons else float(np.mean(values))
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
