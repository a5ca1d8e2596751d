"""Search in a gallery where some probes have no mate: ranks, and TPIR at a given FPIR."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.embeddings import unit_embeddings
from fairloss.evaluation.curve import RELATIVE_TOLERANCE


class Search(NamedTuple):
    """What a search of Q probes in a gallery of G enrolled subjects found.

    Attributes:
        mated: (Q,) bool, the probe's subject is in the gallery.
        rank: (Q,) int64, number of other subjects with a higher score than the mate; -1 unmated.
        mate_score: (Q,) score of the mate; NaN unmated.
        best_other: (Q,) highest score of any other subject.
    """

    mated: npt.NDArray[np.bool_]
    rank: npt.NDArray[np.int64]
    mate_score: npt.NDArray[np.float32]
    best_other: npt.NDArray[np.float32]

    def tpir_at(self, fpir: float) -> tuple[float, float] | None:
        """(TPIR, threshold) at the lowest threshold whose FPIR is at most `fpir`.

        FPIR: share of unmated probes with any score at or above the threshold. TPIR: share of mated
        probes whose mate is first and at or above it. None with fewer than 1 / fpir unmated probes.
        """
        unmated = np.sort(self.best_other[~self.mated])[::-1]
        allowed = int(np.floor(fpir * len(unmated) * (1 + RELATIVE_TOLERANCE)))
        if not allowed:
            return None
        # the threshold lies just above the first score that would be one too many
        over = unmated[allowed] if allowed < len(unmated) else np.float32(-np.inf)
        threshold = np.nextafter(over, np.float32(np.inf))
        return float(self.hits(threshold).mean()), float(threshold)

    def hits(self, threshold: float) -> npt.NDArray[np.bool_]:
        """(mated probes,) mate is first and scores at or above the threshold."""
        hit: npt.NDArray[np.bool_] = (self.rank == 0) & (self.mate_score >= threshold)
        return hit[self.mated]


def search_gallery(
    gallery: npt.ArrayLike,
    gallery_subject: npt.ArrayLike,
    probes: npt.ArrayLike,
    probe_subject: npt.ArrayLike,
    chunk: int = 1024,
) -> Search:
    """Score probes against a gallery with one template a subject.

    Args:
        gallery, probes: (G, D) and (Q, D) features; normalised here.
        gallery_subject, probe_subject: (G,) and (Q,) integers.
        chunk: probes at a time.

    Raises:
        ValueError: a subject is enrolled twice.
    """
    enrolled, wanted = np.asarray(gallery_subject), np.asarray(probe_subject)
    order = np.argsort(enrolled)
    if len(np.unique(enrolled)) != len(enrolled):
        raise ValueError("gallery_subject: a subject is enrolled twice")
    place = np.searchsorted(enrolled[order], wanted).clip(max=len(enrolled) - 1)
    mate = order[place]
    mated = enrolled[mate] == wanted
    rows, queries = unit_embeddings(gallery), unit_embeddings(probes)
    rank = np.full(len(queries), -1, dtype=np.int64)
    mate_score = np.full(len(queries), np.nan, dtype=np.float32)
    best_other = np.empty(len(queries), dtype=np.float32)
    for start in range(0, len(queries), chunk):
        part = np.arange(start, min(start + chunk, len(queries)))
        score = queries[part] @ rows.T
        mine = part[mated[part]]
        own = score[mine - start, mate[mine]]
        rank[mine] = (score[mine - start] > own[:, None]).sum(axis=1)
        mate_score[mine] = own
        score[mine - start, mate[mine]] = -np.inf
        best_other[part] = score.max(axis=1)
    return Search(mated, rank, mate_score, best_other)
