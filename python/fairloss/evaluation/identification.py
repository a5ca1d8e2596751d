"""Open-set identification: ranks, and TPIR at a given FPIR, where some probes have no mate."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.deprecation import renamed_keywords
from fairloss.embeddings import equal_rows, pair_products, unit_embeddings
from fairloss.evaluation.pairs import check_identities
from fairloss.evaluation.roc import RELATIVE_TOLERANCE
from fairloss.typing import Bools, Float32s, Ints


class Search(NamedTuple):
    """The result of a search of Q probes in a gallery of G enrolled identities.

    Attributes:
        mated: (Q,) bool, True where the probe's identity is in the gallery.
        rank: (Q,) int64, number of other identities with a higher score than the mate; -1 unmated.
        mate_score: (Q,) score of the mate; NaN unmated.
        best_other: (Q,) highest score of any other identity.
    """

    mated: Bools
    rank: Ints
    mate_score: Float32s
    best_other: Float32s

    def tpir_at(self, fpir: float) -> tuple[float, float] | None:
        """Return (TPIR, threshold) at the lowest threshold whose FPIR is at most `fpir`.

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

    def hits(self, threshold: float) -> Bools:
        """Return the (mated probes,) bool: mate is first and scores at or above the threshold."""
        hit: Bools = (self.rank == 0) & (self.mate_score >= threshold)
        return hit[self.mated]


@renamed_keywords(gallery_subject="gallery_identities", probe_subject="probe_identities")
def search_gallery(
    gallery: npt.ArrayLike,
    gallery_identities: npt.ArrayLike,
    probes: npt.ArrayLike,
    probe_identities: npt.ArrayLike,
    chunk: int = 1024,
) -> Search:
    """Score probes against a gallery with one template per identity.

    Equal features have equal scores, to the last bit, so that a copy of the mate ties with it.

    Args:
        gallery: (G, D) features; normalized here.
        gallery_identities: (G,) integers.
        probes: (Q, D) features; normalized here.
        probe_identities: (Q,) integers.
        chunk: probes at a time.

    Raises:
        ValueError: an identity is enrolled twice.
    """
    enrolled = check_identities("gallery_identities", gallery_identities, gallery)
    identity = check_identities("probe_identities", probe_identities, probes)
    kinds = {enrolled.dtype.kind, identity.dtype.kind}  # a text never equals a number
    expect(
        kinds <= {"i", "u"} or "O" in kinds or len(kinds) == 1,
        "probe_identities",
        f"{enrolled.dtype}, as gallery_identities",
        identity.dtype,
    )
    order = np.argsort(enrolled)
    expect(
        len(np.unique(enrolled)) == len(enrolled),
        "gallery_identities",
        "different identities",
        "one that is enrolled twice",
    )
    position = np.searchsorted(enrolled[order], identity).clip(max=len(enrolled) - 1)
    mate = order[position]
    mated = enrolled[mate] == identity
    rows, queries = unit_embeddings(gallery), unit_embeddings(probes)
    # entries of a matrix product differ in rounding: equal rows take the score of the first of them
    first = equal_rows(rows, rows)
    repeated = np.flatnonzero(first != np.arange(len(rows)))
    rank = np.full(len(queries), -1, dtype=np.int64)
    mate_score = np.full(len(queries), np.nan, dtype=np.float32)
    best_other = np.empty(len(queries), dtype=np.float32)
    for start in range(0, len(queries), chunk):
        part = np.arange(start, min(start + chunk, len(queries)))
        score = queries[part] @ rows.T
        score[:, repeated] = score[:, first[repeated]]
        with_mate = part[mated[part]]
        row, column = with_mate - start, mate[with_mate]
        rank[with_mate] = (score[row] > score[row, column, None]).sum(axis=1)
        mate_score[with_mate] = pair_products(queries[with_mate], rows[column])
        score[row, column] = -np.inf
        best_other[part] = pair_products(queries[part], rows[score.argmax(axis=1)])
    best_other[mated & (len(rows) == 1)] = -np.inf  # there is no other
    return Search(mated, rank, mate_score, best_other)
