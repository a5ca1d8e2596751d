"""Exact search over shards, of which one at a time need be in memory."""

from collections.abc import Iterable

import numpy as np

from fairloss.gallery.device import Knn
from fairloss.gallery.rows import Shard
from fairloss.typing import Float32s, Ints


def search_exact(
    shards: Iterable[Shard], probes: Float32s, k: int, knn: Knn
) -> tuple[Float32s, Ints]:
    """Return (Q, at most k) highest inner products and the ids they belong to, best first."""
    scores = np.empty((len(probes), 0), dtype=np.float32)
    ids = np.empty((len(probes), 0), dtype=np.int64)
    for shard in shards:
        products, positions = knn(probes, shard.rows, min(k, len(shard)))
        ids = np.hstack((ids, shard.ids[positions]))
        scores, ids = best(np.hstack((scores, products)), ids, k)
    return scores, ids


def best(scores: Float32s, ids: Ints, k: int) -> tuple[Float32s, Ints]:
    """Return the k highest of each row, equal ones in their order."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
