"""The embeddings of a gallery: rows of unit length in shards, in memory or mapped from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# What one step of an exact search reads, what one save rewrites at most, and what a build keeps in
# memory: small beside any machine's memory, and 32,768 rows of 512, enough for a matrix product.
SHARD_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Shard:
    """Some of the embeddings; never changed, only replaced.

    Attributes:
        ids: (n,) ascending.
        names: n names.
        rows: (n, D) of unit length.
        files: where it is on disk, as entries of the manifest; None: not written.
    """

    ids: Ids
    names: list[str]
    rows: Floats
    files: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, chosen: npt.NDArray[np.bool_] | slice) -> Shard:
        """Some of the rows; itself, if they are all of them."""
        at = np.arange(len(self))[chosen]
        if len(at) == len(self):
            return self
        return Shard(self.ids[chosen], [self.names[i] for i in at], self.rows[chosen])


class Rows:
    """Embeddings with an id and a name each. Ids only grow, and are never given again.

    Args:
        size: length D of every embedding.
    """

    def __init__(self, size: int, shards: Iterable[Shard] = (), next_id: int = 0) -> None:
        self.size, self.next_id = size, next_id
        self._shards, self._fresh = list(shards), list[Shard]()

    def __len__(self) -> int:
        return sum(map(len, self._shards)) + sum(map(len, self._fresh))

    @property
    def shard_rows(self) -> int:
        """Rows of a full shard."""
        return max(SHARD_BYTES // (4 * self.size), 1)

    @property
    def shards(self) -> list[Shard]:
        """All embeddings by ascending id; what was added since the last look is packed first."""
        if self._fresh:
            # the last shard may have room
            packed = _packed([*self._shards[-1:], *self._fresh], self.shard_rows)
            self._shards[-1:], self._fresh = packed, []
        return self._shards

    @shards.setter
    def shards(self, shards: list[Shard]) -> None:
        self._shards, self._fresh = shards, []

    @property
    def names(self) -> list[str]:
        """One a row."""
        return [name for shard in self.shards for name in shard.names]

    def append(self, names: Sequence[str], rows: Floats) -> None:
        """Add (n, D) rows of unit length."""
        if len(names):
            ids = np.arange(self.next_id, self.next_id + len(names), dtype=np.int64)
            self._fresh.append(Shard(ids, list(names), rows))
            self.next_id += len(names)

    def remove(self, names: set[str]) -> Ids:
        """Drop the rows of these names and return their ids."""
        kept, removed = [], [np.empty(0, dtype=np.int64)]
        for shard in self.shards:
            stays = np.fromiter((name not in names for name in shard.names), dtype=bool)
            removed.append(shard.ids[~stays])
            if stays.any():
                kept.append(shard.part(stays))
        self.shards = kept
        return np.concatenate(removed)

    def since(self, bound: int = 0, without: Ids | None = None) -> Iterator[Shard]:
        """Shards of the rows whose ids are at least `bound`, less those of the ids `without`."""
        for shard in self.shards:
            if shard.ids[-1] < bound:
                continue
            chosen = shard.ids >= bound
            if without is not None:
                chosen &= ~np.isin(shard.ids, without)
            if chosen.any():
                yield shard.part(chosen)

    def ids(self, bound: int = 0, without: Ids | None = None) -> Ids:
        """All ids of what `since` gives, without a look at the rows."""
        ids = np.concatenate([np.empty(0, np.int64), *(shard.ids for shard in self.shards)])
        ids = ids[ids >= bound]
        return ids if without is None else ids[~np.isin(ids, without)]

    def take(self, ids: Ids) -> Floats:
        """(n, D) rows of n ids."""
        found = np.empty((len(ids), self.size), dtype=np.float32)
        self._visit(ids, lambda shard, at, where: found.__setitem__(where, shard.rows[at]))
        return found

    def names_of(self, ids: Ids) -> list[str]:
        """N names of n ids."""
        found = np.empty(len(ids), dtype=object)
        self._visit(
            ids,
            lambda shard, at, where: found.__setitem__(where, [shard.names[i] for i in at]),
        )
        return list(found)

    def _visit(self, ids: Ids, visit: Callable[[Shard, Ids, Ids], object]) -> None:
        """Call `visit(shard, positions in it, positions in ids)` for each shard concerned."""
        if not len(ids):
            return
        shards = self.shards
        holder = np.searchsorted([shard.ids[0] for shard in shards], ids, side="right") - 1
        for number in np.unique(holder):
            where = np.flatnonzero(holder == number)
            visit(shards[number], np.searchsorted(shards[number].ids, ids[where]), where)


def _packed(blocks: Iterable[Shard], full: int) -> list[Shard]:
    """Long blocks cut, and neighbours joined where they fit in a shard together."""
    packed: list[Shard] = []
    group: list[Shard] = []
    for block in blocks:
        for start in range(0, len(block), full):
            piece = block.part(slice(start, start + full))
            if group and sum(map(len, group)) + len(piece) > full:
                packed.append(_joined(group))
                group = []
            group.append(piece)
    return [*packed, _joined(group)]


def _joined(group: Sequence[Shard]) -> Shard:
    if len(group) == 1:
        return group[0]
    return Shard(
        np.concatenate([shard.ids for shard in group]),
        [name for shard in group for name in shard.names],
        np.concatenate([shard.rows for shard in group]),
    )
