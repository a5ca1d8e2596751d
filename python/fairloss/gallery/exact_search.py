"""Exact search over shards, of which one at a time need be in memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fairloss.gallery.device import Knn
from fairloss.gallery.rows import Floats, Ids, Shard


def search_exact(shards: Iterable[Shard], probes: Floats, k: int, knn: Knn) -> tuple[Floats, Ids]:
    """(Q, at most k) highest inner products and the ids they belong to, best first."""
    scores = np.empty((len(probes), 0), dtype=np.float32)
    ids = np.empty((len(probes), 0), dtype=np.int64)
    for shard in shards:
        found, at = knn(probes, shard.rows, min(k, len(shard)))
        scores, ids = best(np.hstack((scores, found)), np.hstack((ids, shard.ids[at])), k)
    return scores, ids


def best(scores: Floats, ids: Ids, k: int) -> tuple[Floats, Ids]:
    """The k highest of each row, equal ones in the order they came."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
