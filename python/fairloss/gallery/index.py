"""A faiss index over some of a gallery's rows: training, adding, removing, searching."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairloss.checks import expect
from fairloss.gallery import kinds
from fairloss.gallery.device import Device, FaissIndex, import_faiss
from fairloss.gallery.exact_search import best, search_exact
from fairloss.gallery.rows import Rows
from fairloss.typing import Float32s, Ints


@dataclass(eq=False)
class Index:
    """An index of one of the approximate kinds.

    Attributes:
        kind: "ivf", "hnsw" or "ivf-pq".
        faiss_index: with the rows' ids.
        parameter: nprobe or efSearch.
        covers: all rows with an id below are in it, no others.
        file: its file on disk, as an entry of the manifest; None: not written as it is now.
    """

    kind: str
    faiss_index: FaissIndex
    parameter: int
    covers: int = 0
    file: dict[str, str] | None = None
    _gpu_copy: FaissIndex = None

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the copy on a GPU, which a search makes again; faiss pickles its index."""
        return vars(self) | {"_gpu_copy": None}

    @property
    def lists(self) -> int:
        """Number of lists of an inverted file; 1 for a graph."""
        return 1 if self.kind == "hnsw" else int(self.faiss_index.nlist)

    @property
    def effort(self) -> float | None:
        """efSearch, or nprobe as share of the lists; None for the default."""
        default = kinds.default_parameter(self.kind, self.lists)
        return None if self.parameter == default else self.parameter / self.lists

    def extend(
        self,
        rows: Rows,
        excluded: Ints | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Add the rows that are not in it yet, but those of the ids `excluded`.

        `progress` is called as progress(rows added, rows to add).
        """
        done, total = 0, len(rows.ids(self.covers, excluded))
        for shard in rows.shards_from(self.covers, excluded):
            self._add(shard.rows, shard.ids)
            done += len(shard)
            if progress is not None:
                progress(done, total)
        self.covers = rows.next_id

    def add(self, rows: Rows, ids: Ints) -> None:
        """Add rows that `extend` excluded."""
        self._add(rows.take(ids), ids)

    def remove(self, ids: Ints) -> bool:
        """Remove rows; return False if the kind cannot, or if no row is left."""
        if self.kind == "hnsw":
            return False
        self.faiss_index.remove_ids(ids)
        self.file = self._gpu_copy = None
        return bool(self.faiss_index.ntotal)

    def needs_training(self, count: int) -> bool:
        """Return True if `count` rows call for more than twice the lists."""
        return self.kind != "hnsw" and kinds.lists(count) > 2 * self.lists

    def search(self, rows: Rows, probes: Float32s, k: int, device: Device) -> tuple[Float32s, Ints]:
        """Return (Q, k) scores and ids, best first; -inf and -1 if it has fewer."""
        if self.kind == "hnsw":
            return self._search_graph(probes, k)
        index = self.faiss_index
        if device.accelerates(self.kind, k, self.parameter):
            if self._gpu_copy is None:
                self._gpu_copy = device.to_gpu(index)
            index = self._gpu_copy
        index.nprobe = self.parameter
        if self.kind == "ivf":
            scores, ids = index.search(probes, k)
            return np.where(ids < 0, np.float32(-np.inf), scores), ids
        _, ids = index.search(probes, min(k + kinds.SPARE_CANDIDATES, index.ntotal))
        return best(_scores(rows, probes, ids), ids, k)

    def _search_graph(self, probes: Float32s, k: int) -> tuple[Float32s, Ints]:
        """Search the graph itself: IndexIDMap starts all threads to translate ids of one probe."""
        faiss = import_faiss()
        graph = faiss.downcast_index(self.faiss_index.index)
        graph.hnsw.efSearch = self.parameter
        scores, nodes = graph.search(probes, k)
        id_of = faiss.rev_swig_ptr(self.faiss_index.id_map.data(), self.faiss_index.ntotal)
        missing = nodes < 0
        return np.where(missing, np.float32(-np.inf), scores), np.where(missing, -1, id_of[nodes])

    def _add(self, rows: Float32s, ids: Ints) -> None:
        self.faiss_index.add_with_ids(rows, ids)
        self.file = self._gpu_copy = None


def train(
    kind: str,
    rows: Rows,
    *,
    excluded: Ints | None = None,
    effort: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Index:
    """Build an index of all rows but those of the ids `excluded`, searched with `effort`.

    Raises:
        ValueError: too few rows for the kind.
    """
    ids = rows.ids(excluded=excluded)
    count = len(ids)
    enough = f"at least {kinds.PQ_CENTROIDS} embeddings to train ivf-pq"
    expect(kinds.trainable(kind, count), "index", enough, count)
    index = Index(kind, _untrained(kind, count, rows.size), 0)
    if effort is None:
        index.parameter = kinds.default_parameter(kind, index.lists)
    else:
        index.parameter = max(round(effort * index.lists), 1)
    if progress is not None:
        progress(0, count)
    if kind != "hnsw":
        index.faiss_index.train(rows.take(_sample(ids, index.lists)))
    index.extend(rows, excluded, progress)
    return index


def nearest(
    rows: Rows, index: Index | None, probes: Float32s, k: int, device: Device
) -> tuple[Float32s, Ints]:
    """Return (Q, at most k) scores and ids, from the index and from the rows it does not cover.

    A probe for which the index has no match, as its lists are empty, is compared with all rows.
    """
    k, knn = min(k, len(rows)), device.knn()
    if index is None:
        return search_exact(rows.shards, probes, k, knn)
    late_scores, late_ids = search_exact(rows.shards_from(index.covers), probes, k, knn)
    scores, ids = index.search(rows, probes, k, device)
    unmatched = np.flatnonzero((ids < 0).all(axis=1))
    scores, ids = best(np.hstack((scores, late_scores)), np.hstack((ids, late_ids)), k)
    if len(unmatched):
        exact = search_exact(rows.shards, probes[unmatched], k, knn)
        scores[unmatched], ids[unmatched] = exact
    return scores, ids


def _untrained(kind: str, count: int, size: int) -> FaissIndex:
    faiss: Any = import_faiss()
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        return faiss.IndexIDMap(faiss.IndexHNSWFlat(size, kinds.LINKS, metric))
    # np: no polysemous codes, which take minutes to train and serve another kind of search
    codes = "Flat" if kind == "ivf" else f"PQ{kinds.code_bytes(size)}np"
    index = faiss.index_factory(size, f"IVF{kinds.lists(count)},{codes}", metric)
    for clustering in [index.cp] if kind == "ivf" else [index.cp, index.pq.cp]:
        clustering.min_points_per_centroid = 1  # a small gallery is no reason for a warning
        clustering.max_points_per_centroid = kinds.MOST_POINTS
        clustering.niter = kinds.ROUNDS
    return index


def _sample(ids: Ints, lists: int) -> Ints:
    """Return evenly spaced ids to train on, so that all parts of the gallery are represented."""
    points = kinds.MOST_POINTS * max(lists, kinds.PQ_CENTROIDS)
    return ids[np.linspace(0, len(ids) - 1, min(len(ids), points)).astype(np.int64)]


def _scores(rows: Rows, probes: Float32s, ids: Ints) -> Float32s:
    """Compute (Q, n) inner products with the rows of (Q, n) ids; -inf for id -1."""
    unique, inverse = np.unique(ids[ids >= 0], return_inverse=True)
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    queries, columns = np.nonzero(ids >= 0)
    # in parts, as the rows of all candidates of a large batch are more than a shard
    for start in range(0, len(inverse), rows.shard_rows):
        part = slice(start, start + rows.shard_rows)
        candidates, q = rows.take(unique[inverse[part]]), queries[part]
        scores[q, columns[part]] = np.einsum("id,id->i", candidates, probes[q])
    return scores
