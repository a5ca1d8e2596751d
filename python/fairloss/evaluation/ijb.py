"""IJB-B and IJB-C: 1:1 verification and open-set 1:N identification."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.deprecation import renamed_keywords
from fairloss.evaluation.clusters import Clusters, Influence
from fairloss.evaluation.identification import Search
from fairloss.evaluation.influence import (
    InfluenceFunction,
    RocInfluence,
    mean_influence,
    share_function,
)
from fairloss.evaluation.pairs import Pairs
from fairloss.evaluation.protocol_report import (
    KeyPath,
    Unmeasured,
    pair_sampling,
    protocol_report,
    trial_sampling,
)
from fairloss.evaluation.roc import RocCorners, SortedScores
from fairloss.evaluation.sides import matched_networks, network_arrays
from fairloss.evaluation.verification import FARS, PairStatistics, check_fars
from fairloss.typing import Float64s

FPIRS = (0.01, 0.1)
RANKS = (1, 5, 10)
REJECTED = -2.0  # score of a mate that is not first: below every cosine, accepted at FPIR 1 only


@renamed_keywords(subjects="identities")
def evaluate_ijb_verification(
    scores: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Verify template pairs (1:1): TAR at FAR 1e-6..1e-1, AUC and EER.

    Args:
        scores: (P,) cosine of each pair of templates.
        pairs: P pairs of templates.
        identities: (T,) identity of each template, as from `linked_identities`.
        replicates: of the bootstrap that checks the intervals, 0 for none.
        seed: of the bootstrap.

    Returns:
        A JSON-ready report: as `Verification`, with intervals, and "tar_nearest" (FAR -> TAR at the
        point of the ROC whose FAR is nearest, the convention of insightface's table, unstable at
        1e-6).
    """
    report = _verification([[scores]], pairs, identities, replicates, seed)
    nearest = {str(far): tar for far, tar in nearest_tar(scores, pairs.genuine, FARS).items()}
    return report | {"tar_nearest": nearest}


@renamed_keywords(subjects="identities")
def compare_ijb_verification(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    pairs: Pairs,
    identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same template pairs: b minus a; see `compare`.

    Scores are (P,), or (S, P) or a list of those of S networks.
    """
    sides = [network_arrays("scores_a", scores_a, 1), network_arrays("scores_b", scores_b, 1)]
    return _verification(sides, pairs, identities, replicates, seed)


def _verification(
    sides: Sequence[Sequence[npt.ArrayLike]],
    pairs: Pairs,
    identities: npt.ArrayLike,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    statistics = [[PairStatistics(scores, pairs.genuine) for scores in side] for side in sides]
    sampling = pair_sampling(pairs, identities, replicates, seed)
    return {"seed": seed} | protocol_report(statistics, sampling)


def nearest_tar(
    scores: npt.ArrayLike, genuine: npt.ArrayLike, far: Sequence[float]
) -> dict[float, float]:
    """Return the TAR at the corner of the ROC with the nearest FAR; of two the larger FAR.

    Corners, as in scikit-learn's `roc_curve` by default, not all points: this is what published
    tables were made with.
    """
    curve = SortedScores(scores, genuine).roc()
    corner = np.ones(len(curve.far), dtype=np.bool_)
    # rounding leaves 1e-16 on a straight line; the smallest step is 1 / pairs, above 1e-8
    second_differences = np.abs(np.diff((curve.far, curve.tar), 2))
    corner[1:-1] = (second_differences > 1e-12).any(axis=0)
    rates, tar = curve.far[corner][::-1], curve.tar[corner][::-1]
    return {f: float(tar[np.argmin(np.abs(rates - f))]) for f in check_fars(far)}


@renamed_keywords(probe_subject="probe_identities")
def evaluate_ijb_identification(
    searches: Mapping[str, Search],
    probe_identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Identify probes (1:N): closed-set ranks and open-set TPIR@FPIR, averaged over galleries.

    A probe is mated in one gallery and unmated in the other, so each gallery is searched
    separately; published numbers are means over the two (Maze et al., "IARPA Janus Benchmark - C",
    2018).

    Args:
        searches: name of the gallery -> its search, of the same probes.
        probe_identities: (Q,), for the intervals: the identities of the probes are a sample, of all
            galleries at once, and the galleries are fixed.
        replicates: of the bootstrap that checks the intervals, 0 for none.
        seed: of the bootstrap.

    Returns:
        A JSON-ready report: "galleries" (name -> "mated", "unmated", "rank", "tpir" and
        "thresholds") and "mean" of "rank" and "tpir", where all galleries have a number.
    """
    sampling = trial_sampling(probe_identities, replicates, seed)
    return {"seed": seed} | protocol_report([[IdentificationStatistics(searches)]], sampling)


@renamed_keywords(probe_subject="probe_identities")
def compare_ijb_identification(
    a: Mapping[str, Search] | Sequence[Mapping[str, Search]],
    b: Mapping[str, Search] | Sequence[Mapping[str, Search]],
    probe_identities: npt.ArrayLike,
    *,
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same probes and galleries: b minus a; see `compare`.

    A sequence of searches is of several networks.

    Raises:
        ValueError: the galleries differ in name or in the probes that have a mate.
    """
    sides = matched_networks(
        a,
        b,
        "the same galleries and mated probes",
        lambda searches: {name: search.mated for name, search in searches.items()},
    )
    statistics = [[IdentificationStatistics(searches) for searches in side] for side in sides]
    sampling = trial_sampling(probe_identities, replicates, seed)
    return {"seed": seed} | protocol_report(statistics, sampling)


class IdentificationStatistics:
    """Ranks and TPIR@FPIR of each gallery and their means.

    The threshold is that of the weights: TPIR@FPIR is the TAR@FAR of mates that come first against
    the best scores of unmated probes.
    """

    def __init__(self, searches: Mapping[str, Search]) -> None:
        self._searches = searches
        self._corners = {name: _first_against_unmated(s) for name, s in searches.items()}
        galleries = {name: _gallery(search) for name, search in searches.items()}
        limits = {"rank": map(str, RANKS), "tpir": map(str, FPIRS)}
        means = {
            key: {rate: _mean([g[key][rate] for g in galleries.values()]) for rate in table}
            for key, table in limits.items()
        }
        self.point: dict[str, Any] = {"galleries": galleries, "mean": means}

    @property
    def influences(self) -> dict[KeyPath, InfluenceFunction]:
        """The numbers of `weighted`, where they can be measured."""
        functions: dict[KeyPath, InfluenceFunction] = {}
        for name, search in self._searches.items():
            if search.mated.any():
                rows = np.flatnonzero(search.mated)
                for rank in RANKS:
                    hits = search.rank[rows] < rank
                    functions["galleries", name, "rank", str(rank)] = share_function(hits, rows)
            corners = self._corners[name]
            for fpir, value in self.point["galleries"][name]["tpir"].items():
                if corners is not None and not isinstance(value, Unmeasured):
                    roc = RocInfluence(corners, search.mated)
                    functions["galleries", name, "tpir", fpir] = partial(
                        roc.tar_at, far=float(fpir)
                    )
        for key, table in self.point["mean"].items():
            for limit, mean in table.items():
                if not isinstance(mean, Unmeasured):
                    parts = [functions["galleries", n, key, limit] for n in self._searches]
                    functions["mean", key, limit] = partial(self._mean_influence, parts)
        return functions

    def _mean_influence(self, parts: list[InfluenceFunction], clusters: Clusters) -> Influence:
        probes = len(next(iter(self._searches.values())).mated)
        return mean_influence([part(clusters) for part in parts], probes)

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return "rank" and "tpir" of each gallery, and their means, where they can be measured."""
        numbers: dict[KeyPath, float | None] = {}
        for name, search in self._searches.items():
            mated, corners = weights[search.mated], self._corners[name]
            total, curve = mated.sum(), None if corners is None else corners.roc(weights)
            for rank in RANKS:
                hit = mated @ (search.rank[search.mated] < rank)
                numbers["galleries", name, "rank", str(rank)] = hit / total if total else None
            for fpir, value in self.point["galleries"][name]["tpir"].items():
                if not isinstance(value, Unmeasured):
                    tpir = None if curve is None else curve.tar_at(float(fpir))
                    numbers["galleries", name, "tpir", fpir] = tpir
        for key, table in self.point["mean"].items():
            for limit, mean in table.items():
                if not isinstance(mean, Unmeasured):
                    values = [numbers["galleries", name, key, limit] for name in self._searches]
                    numbers["mean", key, limit] = _mean(values)
        return numbers


def _first_against_unmated(search: Search) -> RocCorners | None:
    """Return the ROC of mates that come first against the best score of unmated probes."""
    if search.mated.all() or not search.mated.any():
        return None
    first = np.where(search.rank == 0, search.mate_score, np.float32(REJECTED))
    return RocCorners(np.where(search.mated, first, search.best_other), search.mated)


def _gallery(search: Search) -> dict[str, Any]:
    unmated = int((~search.mated).sum())
    points = {str(fpir): search.tpir_at(fpir) for fpir in FPIRS}
    reason = Unmeasured(f"not measurable with {unmated} unmated probes")
    return {
        "mated": int(search.mated.sum()),
        "unmated": unmated,
        "rank": {str(r): float((search.rank[search.mated] < r).mean()) for r in RANKS},
        "tpir": {fpir: reason if point is None else point[0] for fpir, point in points.items()},
        "thresholds": {fpir: point and point[1] for fpir, point in points.items()},
    }


def _mean(values: Sequence[Any]) -> Any:
    """Return the mean, or the first value that is no number: None, or a reason."""
    missing = [value for value in values if not isinstance(value, float)]
    return missing[0] if missing else float(np.mean(values))
