"""Cosine search over named embeddings."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairloss.checks import check_integer, check_length, expect
from fairloss.gallery import kinds, saving, storage
from fairloss.gallery.arguments import check_names, unit_rows
from fairloss.gallery.device import Device
from fairloss.gallery.index import Index, nearest, train
from fairloss.gallery.rows import Rows
from fairloss.gallery.tuning import Tuning, tune
from fairloss.progress import Progress, no_progress


class Match(NamedTuple):
    """One gallery embedding close to a probe."""

    name: str
    score: float  # cosine


class Gallery:
    """Named embeddings on the unit sphere, searched with faiss.

    A name may have several embeddings, such as several photos of one identity; each is a match
    of its own.

    Searches compare every embedding until `reindex` builds an index; embeddings added after that
    are compared exactly, beside the index, until it is called again. The index is made
    from the embeddings, which the gallery keeps (docs/gallery.md).

    Args:
        embedding_size: length D of every embedding, at least 1.
        index: what `reindex` builds: "flat" (none, exact), "ivf", "hnsw", "ivf-pq", or "auto", by
            number of embeddings and memory.
        device: where to search, "cpu", "cuda", or "auto": on a GPU if faiss sees one.

    Raises:
        ImportError: faiss is not installed.
        ValueError: an argument is none of these, or there is no GPU for "cuda".
    """

    def __init__(self, embedding_size: int, index: str = kinds.AUTO, device: str = "auto") -> None:
        self._requested_kind = kinds.check_kind(index)
        self._device = Device(device)
        self._rows = Rows(check_integer("embedding_size", embedding_size))
        self._index: Index | None = None
        self._efforts: dict[str, float | None] = {}  # of the last index of each kind
        self._manifests: dict[Path, bytes] = {}  # as in storage.Stored

    @property
    def embedding_size(self) -> int:
        """Length D of every embedding."""
        return self._rows.size

    @property
    def names(self) -> list[str]:
        """Each name once, in the order of first addition."""
        return list(dict.fromkeys(self._rows.names))

    @property
    def index(self) -> str:
        """The kind of the current index: "flat" if there is none."""
        return "flat" if self._index is None else self._index.kind

    def __copy__(self) -> Gallery:
        """Return a deep copy, as index and embeddings of a gallery change together."""
        return copy.deepcopy(self)

    def __len__(self) -> int:
        """Number of embeddings, not of names."""
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Gallery({len(self)} embeddings of size {self.embedding_size}, {self.index} index)"

    def add(self, names: Sequence[str], embeddings: Any) -> None:
        """Add embeddings. A batch with an error changes nothing.

        Args:
            names: N names; a name may repeat, here or across calls.
            embeddings: (N, D) array or tensor of real numbers; normalized here.

        Raises:
            ValueError: lengths differ, a name is not a non-empty string, or a row is zero, not
                finite or of another size.
        """
        names = check_names(names)
        rows = unit_rows(embeddings, self.embedding_size)
        check_length("names", len(names), len(rows), "entries, one for each embedding")
        self._rows.append(names, rows)

    def remove(self, names: Sequence[str]) -> int:
        """Remove all embeddings of these names and return how many there were.

        Names that are not in the gallery are ignored. An "hnsw" index cannot
        remove rows, so it is dropped: searches are exact until `reindex`.
        """
        ids = self._rows.remove(set(check_names(names)))
        if self._index is not None and len(ids):
            covered = ids[ids < self._index.covers]
            if len(covered) and not self._index.remove(covered):
                self._note_effort()
                self._index = None
        return len(ids)

    def search(self, embeddings: Any, k: int = 5) -> list[list[Match]]:
        """Return the k most similar gallery embeddings of each probe, best first.

        Args:
            embeddings: (Q, D) array or tensor of real numbers; normalized here.
            k: at least 1; a smaller gallery gives fewer matches, and so may an index.

        Returns:
            Q lists of at most k matches.

        Raises:
            ValueError: k is not an integer of at least 1, or a row is zero, not finite or of
                another size.
        """
        k = check_integer("k", k)
        probes = unit_rows(embeddings, self.embedding_size)
        scores, ids = nearest(self._rows, self._index, probes, k, self._device)
        matched = ids >= 0
        names = iter(self._rows.names_of(ids[matched]))
        return [
            [Match(next(names), score) for score in row[mask].tolist()]
            for row, mask in zip(scores, matched, strict=True)
        ]

    def reindex(
        self,
        index: str | None = None,
        *,
        memory: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Bring the index up to date, or train a new one for another kind or many more embeddings.

        The parameters of `tune` persist: efSearch, and nprobe in proportion to the lists.

        Args:
            index: another kind from now on; None: as before.
            memory: bytes that "auto" may use; None: half of the machine's.
            progress: called as progress(embeddings added to the index, to add).

        Raises:
            ValueError: no such kind, or too few embeddings to train "ivf-pq" (256).
        """
        requested = self._requested_kind if index is None else kinds.check_kind(index)
        self._note_effort()
        count, kind = len(self), requested
        if kind == kinds.AUTO:
            budget = kinds.default_memory() if memory is None else memory
            kind = kinds.choose_kind(count, self.embedding_size, budget)
        if kind == "flat" or not count:
            self._index = None
        elif self.index == kind and self._index and not self._index.needs_training(count):
            self._index.extend(self._rows, progress=progress)
        else:
            effort = self._efforts.get(kind)
            self._index = train(kind, self._rows, effort=effort, progress=progress)
        self._requested_kind = requested

    def tune(
        self,
        recall: float = 0.99,
        *,
        probes: Any = None,
        batch: int = 1,
        kinds: Sequence[str] = kinds.KINDS,
        memory: int | None = None,
        progress: Progress = no_progress,
    ) -> Tuning:
        """Measure all kinds of index and take the fastest with enough recall.

        Args:
            recall: share of the probes whose exact best match it must find, above 0 to 1.
            probes: (Q, D) array or tensor; None: up to 1,000 of its own embeddings, held out.
            batch: probes of one timed search.
            kinds: to measure; "flat" always is, "ivf-pq" never on fewer than 256 embeddings.
            memory: bytes for all indexes together; None: half of the machine's.
            progress: called as progress(label, done, total).

        Raises:
            ValueError: an argument is out of range, or the gallery holds fewer than 20 embeddings
                (none, where there are probes).
        """
        tuning = tune(
            self._rows,
            self._device,
            probes=None if probes is None else unit_rows(probes, self.embedding_size),
            recall=recall,
            batch=batch,
            candidates=kinds,
            memory=memory,
            progress=progress,
        )
        self._index, self._requested_kind = tuning.index, tuning.chosen.kind
        return tuning

    def merge(self, other: Gallery) -> None:
        """Add all embeddings of another gallery, which stays as it is.

        Raises:
            ValueError: the embedding sizes differ.
        """
        size, other_size = self.embedding_size, other.embedding_size
        expect(other_size == size, "other", f"embedding size {size}", other_size)
        for shard in list(other._rows.shards):
            self._rows.append(shard.names, shard.rows)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the gallery to a folder, replacing the gallery there.

        A reader sees the old gallery or the new one, and an interrupted save leaves the old
        one. Writers wait for each other. Files that have not changed are not written again, and
        from now on the embeddings are read from there (docs/gallery.md has the layout).

        Raises:
            ValueError: another program changed the gallery there since this one read or wrote it.
        """
        kind, manifests = self._requested_kind, self._manifests
        stored = storage.Stored(self._rows, self._index, kind, manifests)
        saving.write(Path(folder), stored)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "auto") -> Gallery:
        """Open a gallery, verifying version, checksums and counts.

        Embeddings stay on disk, mapped into memory.

        Raises:
            FileNotFoundError: there is no gallery in `folder`.
            ValueError: it is damaged, incomplete, or of another version.
        """
        stored = storage.read(Path(folder))
        gallery = cls(stored.rows.size, stored.requested_kind, device)
        gallery._rows, gallery._index = stored.rows, stored.index
        gallery._manifests = stored.manifests
        return gallery

    def _note_effort(self) -> None:
        if self._index is not None:
            self._efforts[self._index.kind] = self._index.effort
