"""The MegaFace challenge: identification among up to a million distractors, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from fairloss.embeddings import unit_embeddings
from fairloss.evaluation.bootstrap import Weights
from fairloss.evaluation.clusters import cluster_intervals
from fairloss.evaluation.curve import RELATIVE_TOLERANCE
from fairloss.evaluation.metrics import not_measurable
from fairloss.evaluation.pairs import identity_index
from fairloss.evaluation.statistics import Place, Resample, compare, with_intervals
from fairloss_ext import distractor_ranks

FAR = 1e-6
CHUNK = 2**16  # distractors normalised at a time: 128 MiB of float32 at 512 dimensions
# The ROC reaches up to ten times the published FAR, or to this many impostors if that is more.
ROC_FAR = 10 * FAR
ROC_IMPOSTORS = 100_000


@dataclass(frozen=True, eq=False)
class MegaFace:
    """What every trial of a challenge found.

    A trial is an ordered pair of images of one person: one joins the distractors, the other is the
    probe.

    Attributes:
        rank: (T,) int64, distractors strictly more similar to the probe than its mate.
        score: (T,) float32, cosine of probe and mate.
        identity: (T,) int64, number of the person.
        impostor: (K,) float32, the highest scores of any probe with any distractor, falling.
        probes, distractors: how many.
    """

    rank: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    identity: npt.NDArray[np.int64]
    impostor: npt.NDArray[np.float32]
    probes: int
    distractors: int

    @property
    def impostors(self) -> int:
        """Number of impostor pairs: every probe with every distractor."""
        return self.probes * self.distractors

    def recall(self) -> npt.NDArray[np.float64]:
        """CMC: (distractors + 1,) share of trials with at most 0, 1, 2, ... closer distractors."""
        counts = np.bincount(self.rank, minlength=self.distractors + 1)
        return np.cumsum(counts) / len(self.rank)

    def threshold_at(self, far: float = FAR) -> float | None:
        """Highest impostor score that may not be accepted at `far`; mates above it are.

        None if `far` allows no impostor pair at all, or more than were kept.
        """
        allowed = math.floor(far * self.impostors * (1 + RELATIVE_TOLERANCE))
        if not 1 <= allowed < len(self.impostor):
            return None
        return float(self.impostor[allowed])

    def tar_at(self, far: float = FAR) -> float | None:
        """Share of mates accepted where at most a share `far` of impostor pairs is."""
        threshold = self.threshold_at(far)
        return None if threshold is None else float((self.score > threshold).mean())

    def roc(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(FPR, TPR) when all scores above each kept impostor score are accepted."""
        before = np.flatnonzero(np.append(True, self.impostor[1:] != self.impostor[:-1]))
        mates = np.sort(self.score)
        accepted = len(mates) - np.searchsorted(mates, self.impostor[before], side="right")
        return before / self.impostors, accepted / len(mates)

    @property
    def point(self) -> dict[str, Any]:
        """The numbers of `report` without intervals."""
        tar = self.tar_at()
        return {
            "probes": self.probes,
            "identities": len(np.unique(self.identity)),
            "distractors": self.distractors,
            "trials": len(self.rank),
            "rank_1": float((self.rank < 1).mean()),
            "rank_10": float((self.rank < 10).mean()),
            "far": FAR,
            "tar": not_measurable(self.impostors) if tar is None else tar,
            "threshold": self.threshold_at(),
        }

    def weighted(self, weights: Weights) -> dict[Place, float | None]:
        """ "rank_1", "rank_10" and "tar" under (T,) weights of trials, at the data's threshold."""
        hits = {("rank_1",): self.rank < 1, ("rank_10",): self.rank < 10}
        threshold = self.threshold_at()
        if threshold is not None:
            hits["tar",] = self.score > threshold
        total = weights.sum()
        return {place: float(weights @ hit / total) for place, hit in hits.items()}

    def report(self, replicates: int = 1000, seed: int = 0) -> dict[str, Any]:
        """JSON-ready: `point` with intervals of "rank_1", "rank_10" and "tar", drawing people."""
        return with_intervals(self, self.resample(replicates, seed))

    def resample(self, replicates: int, seed: int) -> Resample:
        """Of whole people."""
        return partial(cluster_intervals, clusters=self.identity, replicates=replicates, seed=seed)


def evaluate_megaface(
    probes: npt.ArrayLike,
    identities: npt.ArrayLike,
    distractors: npt.ArrayLike,
    excluded: npt.ArrayLike | None = None,
) -> MegaFace:
    """Run every trial of the challenge, in one pass over the distractors.

    Scores are cosines; Euclidean distance of unit features ranks alike, as |a - b|^2 = 2 - 2 a.b.
    Under an initialised `torch.distributed` group each process passes its own rows of the
    distractors, and all return the result of the whole.

    Args:
        probes: (P, D) real numbers; normalised here.
        identities: (P,) integers or strings; people with one image have no trial.
        distractors: (M, D) floating point, array or memory map; normalised here, in chunks.
        excluded: rows of noisy distractors ("refined" list): never accepted, still counted.

    Raises:
        ValueError: no person has two images, or a row is zero or not finite.
    """
    unit = unit_embeddings(probes)
    people = identity_index(identities)
    mate, probe = trials(people)
    scores = np.einsum("td,td->t", unit[probe], unit[mate])
    rows = np.asanyarray(distractors)
    total = _sum_over_processes(torch.tensor([len(rows)])).item()
    pairs = len(unit) * int(total)
    kept = min(pairs, max(ROC_IMPOSTORS, math.floor(ROC_FAR * pairs) + 1))
    ranks, impostor = _search(unit, probe, scores, rows, kept, excluded)
    return MegaFace(
        rank=_sum_over_processes(ranks).numpy(),
        score=scores,
        identity=people[probe],
        impostor=_highest_of_processes(impostor, kept).numpy(),
        probes=len(unit),
        distractors=int(total),
    )


def compare_megaface(
    a: MegaFace, b: MegaFace, replicates: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Two models on the same challenge: b minus a, both under the same draws of people.

    Returns:
        JSON-ready: as `compare`, with "rank_1", "rank_10" and "tar" at FAR 1e-6.

    Raises:
        ValueError: the two are not of the same probes and number of distractors.
    """
    if not np.array_equal(a.identity, b.identity) or a.impostors != b.impostors:
        raise ValueError("a and b must be of the same probes and distractors")
    return compare(a, b, a.resample(replicates, seed))


def trials(people: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(T,) mate and (T,) probe rows: all ordered pairs of different images of one person."""
    order = np.argsort(people, kind="stable")
    images = np.bincount(people)
    ends = np.cumsum(images)
    mates, probes = [], []
    for end, count in zip(ends, images, strict=True):
        rows = order[end - count : end]
        first, second = np.nonzero(~np.eye(count, dtype=np.bool_))
        mates.append(rows[first])
        probes.append(rows[second])
    if not sum(map(len, mates)):
        raise ValueError("identities: nobody has two images, so there is no trial")
    return np.concatenate(mates), np.concatenate(probes)


def _search(
    unit: npt.NDArray[np.float32],
    probe: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    rows: npt.NDArray[Any],
    kept: int,
    excluded: npt.ArrayLike | None,
) -> tuple[Tensor, Tensor]:
    """Ranks (T,) among these rows, and their `kept` highest impostor scores, falling."""
    drop = np.zeros(len(rows), dtype=np.bool_)
    if excluded is not None:
        drop[np.asarray(excluded, dtype=np.int64)] = True
    ranks, highest = torch.zeros(len(probe), dtype=torch.int64), torch.empty(0)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        chunk = unit_embeddings(rows[part][~drop[part]])
        tail = min(kept, len(unit) * len(chunk))
        if not tail:
            continue
        closer, above = distractor_ranks(unit, chunk, probe, scores, tail)
        ranks += closer
        pool = torch.cat((highest, above))
        highest = pool.topk(min(kept, len(pool))).values
    return ranks, _filled(highest, kept)


def _filled(highest: Tensor, length: int) -> Tensor:
    """Padded with -inf: excluded distractors are infinitely far away."""
    return torch.nn.functional.pad(highest, (0, length - len(highest)), value=-math.inf)


def _distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _sum_over_processes(counts: Tensor) -> Tensor:
    if _distributed():
        distributed.all_reduce(counts)
    return counts


def _highest_of_processes(highest: Tensor, kept: int) -> Tensor:
    if not _distributed():
        return highest
    parts = [torch.empty_like(highest) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, highest)
    return torch.cat(parts).topk(kept).values
