"""The embeddings of a gallery: rows of unit length in shards, in memory or mapped from disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairloss.typing import Bools, Float32s, Ints

# Read in one step of an exact search, rewritten at most by one save, and kept in memory by a build:
# small beside any machine's memory, and 32,768 rows of 512, enough for a matrix product.
SHARD_BYTES = 2**26


@dataclass(frozen=True, eq=False)
class Shard:
    """Some of the embeddings; never changed, only replaced.

    Attributes:
        ids: (n,) ascending.
        names: n names.
        rows: (n, D) of unit length.
        files: its files on disk, as entries of the manifest; None: not written.
    """

    ids: Ints
    names: list[str]
    rows: Float32s
    files: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __deepcopy__(self, memo: Any) -> Shard:
        """Return itself, as it is never changed."""
        return self

    def __reduce__(self) -> Any:
        """Return the values: the folder may be gone, or another machine's, where they are read."""
        return Shard, (self.ids, self.names, np.array(self.rows))

    def select(self, selection: Bools | slice) -> Shard:
        """Return some of the rows; itself, if they are all of them."""
        positions = np.arange(len(self))[selection]
        if len(positions) == len(self):
            return self
        names = [self.names[i] for i in positions]
        return Shard(self.ids[selection], names, self.rows[selection])


class Rows:
    """Embeddings with an id and a name each. Ids only grow, and are never given again.

    Args:
        size: length D of every embedding.
        shards: with ascending ids.
        next_id: above all ids.
    """

    def __init__(self, size: int, shards: Iterable[Shard] = (), next_id: int = 0) -> None:
        self.size, self.next_id = size, next_id
        self._shards, self._added = list(shards), list[Shard]()

    def __len__(self) -> int:
        return sum(map(len, self._shards)) + sum(map(len, self._added))

    @property
    def shard_rows(self) -> int:
        """Rows of a full shard."""
        return max(SHARD_BYTES // (4 * self.size), 1)

    @property
    def shards(self) -> list[Shard]:
        """All embeddings by ascending id; additions since the last access are packed first."""
        if self._added:
            # the last shard may not be full
            packed = _packed([*self._shards[-1:], *self._added], self.shard_rows)
            self._shards[-1:], self._added = packed, []
        return self._shards

    @property
    def names(self) -> list[str]:
        """One a row."""
        return [name for shard in self.shards for name in shard.names]

    def append(self, names: Sequence[str], rows: Float32s) -> None:
        """Add (n, D) rows of unit length."""
        if len(names):
            ids = np.arange(self.next_id, self.next_id + len(names), dtype=np.int64)
            self._added.append(Shard(ids, list(names), rows))
            self.next_id += len(names)

    def remove(self, names: set[str]) -> Ints:
        """Drop the rows of these names and return their ids."""
        remaining, removed = [], [np.empty(0, dtype=np.int64)]
        for shard in self.shards:
            mask = np.fromiter((name not in names for name in shard.names), dtype=bool)
            removed.append(shard.ids[~mask])
            if mask.any():
                remaining.append(shard.select(mask))
        self._shards = remaining
        return np.concatenate(removed)

    def shards_from(self, first_id: int = 0, excluded: Ints | None = None) -> Iterator[Shard]:
        """Yield the rows with ids of at least `first_id` by shard, but those of ids `excluded`."""
        for shard in self.shards:
            mask = _selected(shard.ids, first_id, excluded)
            if mask.any():
                yield shard.select(mask)

    def ids(self, first_id: int = 0, excluded: Ints | None = None) -> Ints:
        """Return all ids of `shards_from`, without reading the rows."""
        ids = np.concatenate([np.empty(0, np.int64), *(shard.ids for shard in self.shards)])
        return ids[_selected(ids, first_id, excluded)]

    def take(self, ids: Ints) -> Float32s:
        """Return (n, D) rows of n ids."""
        rows = np.empty((len(ids), self.size), dtype=np.float32)
        for shard, positions, targets in self._by_shard(ids):
            rows[targets] = shard.rows[positions]
        return rows

    def names_of(self, ids: Ints) -> list[str]:
        """Return n names of n ids."""
        names = np.empty(len(ids), dtype=object)
        for shard, positions, targets in self._by_shard(ids):
            names[targets] = [shard.names[i] for i in positions]
        return list(names)

    def _by_shard(self, ids: Ints) -> Iterator[tuple[Shard, Ints, Ints]]:
        """Yield each shard with some of the ids, their positions in it and in `ids`."""
        first = [shard.ids[0] for shard in self.shards]
        number_of = np.searchsorted(first, ids, side="right") - 1
        for number in np.unique(number_of):
            shard, targets = self.shards[number], np.flatnonzero(number_of == number)
            yield shard, np.searchsorted(shard.ids, ids[targets]), targets


def _selected(ids: Ints, first_id: int, excluded: Ints | None) -> Bools:
    mask = ids >= first_id
    if excluded is not None:
        mask &= ~np.isin(ids, excluded)
    return mask


def _packed(blocks: Iterable[Shard], full: int) -> list[Shard]:
    """Cut long blocks, and join neighbors that fit in a shard together."""
    packed: list[Shard] = []
    group: list[Shard] = []
    for block in blocks:
        for start in range(0, len(block), full):
            piece = block.select(slice(start, start + full))
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
