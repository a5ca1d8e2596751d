"""A faiss index over part of a gallery's rows: training, growing, shrinking, searching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairloss.gallery import kinds
from fairloss.gallery.device import Device, Faiss, import_faiss
from fairloss.gallery.exact_search import best, search_exact
from fairloss.gallery.rows import Floats, Ids, Rows

Progress = Callable[[int, int], object]


@dataclass(eq=False)
class Index:
    """An index of one of the approximate kinds.

    Attributes:
        kind: "ivf", "hnsw" or "ivf-pq".
        faiss: knows the rows by their ids.
        parameter: nprobe or efSearch.
        covers: every row with an id below is in it, no other.
        file: where it is on disk, as an entry of the manifest; None: not written as it is now.
    """

    kind: str
    faiss: Faiss
    parameter: int
    covers: int = 0
    file: dict[str, str] | None = None
    _moved: Faiss = None

    @property
    def lists(self) -> int:
        """Of an inverted file; 1 for a graph."""
        return 1 if self.kind == "hnsw" else int(self.faiss.nlist)

    @property
    def effort(self) -> float | None:
        """efSearch, or nprobe as share of the lists; None where nobody changed the default."""
        default = kinds.default_parameter(self.kind, self.lists)
        return None if self.parameter == default else self.parameter / self.lists

    def extend(
        self, rows: Rows, without: Ids | None = None, progress: Progress | None = None
    ) -> None:
        """Add the rows that are not in it yet, but those of the ids `without`.

        `progress` is called as progress(rows added, rows to add).
        """
        done, total = 0, len(rows.ids(self.covers, without))
        for shard in rows.since(self.covers, without):
            self.faiss.add_with_ids(shard.rows, shard.ids)
            self._changed()
            done += len(shard)
            if progress is not None:
                progress(done, total)
        self.covers = rows.next_id

    def add(self, rows: Rows, ids: Ids) -> None:
        """Add rows that `extend` was told to leave out."""
        self.faiss.add_with_ids(rows.take(ids), ids)
        self._changed()

    def remove(self, ids: Ids) -> bool:
        """Forget rows; False where it is of no use then: the kind cannot, or no row is left."""
        if self.kind == "hnsw":
            return False
        self.faiss.remove_ids(ids)
        self._changed()
        return bool(self.faiss.ntotal)

    def outgrown(self, count: int) -> bool:
        """Whether it should be trained anew, as so many rows want more than twice the lists."""
        return self.kind != "hnsw" and kinds.lists(count) > 2 * self.lists

    def search(self, rows: Rows, probes: Floats, k: int, device: Device) -> tuple[Floats, Ids]:
        """(Q, k) scores and ids, best first; -inf and -1 where it found fewer."""
        if self.kind == "hnsw":
            return self._search_graph(probes, k)
        faiss = self._on(device) if device.suits(self.kind, k, self.parameter) else self.faiss
        faiss.nprobe = self.parameter
        if self.kind == "ivf":
            scores, ids = faiss.search(probes, k)
            return np.where(ids < 0, np.float32(-np.inf), scores), ids
        _, ids = faiss.search(probes, min(k + kinds.SPARE_CANDIDATES, faiss.ntotal))
        return best(_scores(rows, probes, ids), ids, k)

    def _on(self, device: Device) -> Faiss:
        """Its copy there, made once for many searches."""
        if self._moved is None:
            self._moved = device.moved(self.faiss)
        return self._moved

    def _search_graph(self, probes: Floats, k: int) -> tuple[Floats, Ids]:
        """The search of IndexIDMap wakes all threads to translate ids, even those of one probe."""
        faiss = import_faiss()
        graph = faiss.downcast_index(self.faiss.index)
        graph.hnsw.efSearch = self.parameter
        scores, at = graph.search(probes, k)
        known = faiss.rev_swig_ptr(self.faiss.id_map.data(), self.faiss.ntotal)
        missing = at < 0
        return np.where(missing, np.float32(-np.inf), scores), np.where(missing, -1, known[at])

    def _changed(self) -> None:
        self.file = self._moved = None


def train(
    kind: str,
    rows: Rows,
    *,
    without: Ids | None = None,
    effort: float | None = None,
    progress: Progress | None = None,
) -> Index:
    """An index of all rows but those of the ids `without`, searched with `effort`.

    Raises:
        ValueError: too few rows for the kind.
    """
    ids = rows.ids(without=without)
    count = len(ids)
    if not kinds.trainable(kind, count):
        raise ValueError(
            f"index: ivf-pq is trained on at least {kinds.PQ_CENTROIDS} embeddings, got {count}"
        )
    index = Index(kind, _untrained(kind, count, rows.size), 0)
    if effort is None:
        index.parameter = kinds.default_parameter(kind, index.lists)
    else:
        index.parameter = max(round(effort * index.lists), 1)
    if progress is not None:
        progress(0, count)
    if kind != "hnsw":
        index.faiss.train(rows.take(_sample(ids, index.lists)))
    index.extend(rows, without, progress)
    return index


def nearest(
    rows: Rows, index: Index | None, probes: Floats, k: int, device: Device
) -> tuple[Floats, Ids]:
    """(Q, at most k) scores and ids: from the index, and exactly from the rows it does not have.

    A probe for which the index has nothing, as its lists are empty, is compared with every row.
    """
    k, knn = min(k, len(rows)), device.knn()
    if index is None:
        return search_exact(rows.shards, probes, k, knn)
    late_scores, late_ids = search_exact(rows.since(index.covers), probes, k, knn)
    scores, ids = index.search(rows, probes, k, device)
    lost = np.flatnonzero((ids < 0).all(axis=1))
    scores, ids = best(np.hstack((scores, late_scores)), np.hstack((ids, late_ids)), k)
    if len(lost):
        scores[lost], ids[lost] = search_exact(rows.shards, probes[lost], k, knn)
    return scores, ids


def _untrained(kind: str, count: int, size: int) -> Faiss:
    faiss: Any = import_faiss()
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        return faiss.IndexIDMap(faiss.IndexHNSWFlat(size, kinds.LINKS, metric))
    lists = kinds.lists(count)
    if kind == "ivf":
        index = faiss.index_factory(size, f"IVF{lists},Flat", metric)
    else:
        # np: no polysemous codes, which take minutes to train and serve another kind of search
        index = faiss.index_factory(size, f"IVF{lists},PQ{kinds.code_bytes(size)}np", metric)
        _limit(index.pq.cp)
    _limit(index.cp)
    return index


def _limit(clustering: Any) -> None:
    clustering.min_points_per_centroid = 1  # a small gallery is no reason for a warning
    clustering.max_points_per_centroid = kinds.MOST_POINTS
    clustering.niter = kinds.ROUNDS


def _sample(ids: Ids, lists: int) -> Ids:
    """Rows to train on, every n-th, so that every part of the gallery has its share."""
    wanted = kinds.MOST_POINTS * max(lists, kinds.PQ_CENTROIDS)
    return ids[np.linspace(0, len(ids) - 1, min(len(ids), wanted)).astype(np.int64)]


def _scores(rows: Rows, probes: Floats, ids: Ids) -> Floats:
    """(Q, n) inner products with the rows of (Q, n) ids; -inf for id -1."""
    known, place = np.unique(ids[ids >= 0], return_inverse=True)
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    at = np.nonzero(ids >= 0)
    # in parts, as the rows of all candidates of a large batch are more than a shard
    fetched = rows.shard_rows
    for start in range(0, len(place), fetched):
        part = slice(start, start + fetched)
        held = rows.take(known[place[part]])
        q, n = at[0][part], at[1][part]
        scores[q, n] = np.einsum("id,id->i", held, probes[q])
    return scores
