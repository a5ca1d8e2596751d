"""Exact cosine search over named embeddings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.pairs import unit_embeddings
from fairloss.gallery import storage


class Match(NamedTuple):
    """One gallery embedding close to a probe."""

    name: str
    score: float  # cosine


class Gallery:
    """Named embeddings on the unit sphere, searched exactly with faiss.

    A name may hold several embeddings, such as several photos of one person; each is a match
    of its own.

    Args:
        embedding_size: length D of every embedding, at least 1.

    Raises:
        ImportError: faiss is not installed.
    """

    def __init__(self, embedding_size: int) -> None:
        if embedding_size < 1:
            raise ValueError(f"embedding_size must be at least 1, got {embedding_size}")
        faiss = storage.import_faiss()
        self._index: storage.Index = faiss.IndexIDMap2(faiss.IndexFlatIP(embedding_size))
        self._names: dict[int, str] = {}  # id -> name, in the order of addition

    @property
    def embedding_size(self) -> int:
        """Length D of every embedding."""
        return int(self._index.d)

    @property
    def names(self) -> list[str]:
        """Each name once, in the order of first addition."""
        return list(dict.fromkeys(self._names.values()))

    def __len__(self) -> int:
        """Number of embeddings, not of names."""
        return len(self._names)

    def __repr__(self) -> str:
        return f"Gallery({len(self)} embeddings of size {self.embedding_size})"

    def add(self, names: Sequence[str], embeddings: Any) -> None:
        """Add embeddings. A batch with an error changes nothing.

        Args:
            names: N names; a name may repeat, here or across calls.
            embeddings: (N, D) array or tensor of real numbers; normalised here.

        Raises:
            ValueError: lengths differ, a name is not a non-empty string, or a row is zero, not
                finite or of another size.
        """
        names = _check_names(names)
        unit = self._unit(embeddings)
        if len(names) != len(unit):
            raise ValueError(f"names has {len(names)} entries but embeddings has {len(unit)} rows")
        self._append(names, unit)

    def remove(self, names: Sequence[str]) -> int:
        """Remove every embedding of these names and return how many there were.

        A name that is not in the gallery counts as nothing to remove.
        """
        unwanted = set(_check_names(names))
        ids = [number for number, name in self._names.items() if name in unwanted]
        self._index.remove_ids(np.array(ids, dtype=np.int64))
        for number in ids:
            del self._names[number]
        return len(ids)

    def search(self, embeddings: Any, k: int = 5) -> list[list[Match]]:
        """The k most similar gallery embeddings of each probe, best first.

        Args:
            embeddings: (Q, D) array or tensor of real numbers; normalised here.
            k: at least 1; a smaller gallery gives fewer matches.

        Returns:
            Q lists of at most k matches.

        Raises:
            ValueError: k < 1, or a row is zero, not finite or of another size.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        unit = self._unit(embeddings)
        if not len(self):
            return [[] for _ in unit]
        scores, ids = self._index.search(unit, min(k, len(self)))
        return [
            [Match(self._names[number], score) for number, score in zip(*row, strict=True)]
            for row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]

    def merge(self, other: Gallery) -> None:
        """Add every embedding of another gallery, which stays as it is.

        Raises:
            ValueError: the embedding sizes differ.
        """
        if other.embedding_size != self.embedding_size:
            raise ValueError(
                f"other must have embedding size {self.embedding_size}, got {other.embedding_size}"
            )
        if len(other):
            ids = np.fromiter(other._names, dtype=np.int64)
            self._append(list(other._names.values()), other._index.reconstruct_batch(ids))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the gallery to a folder, replacing the gallery there.

        A reader sees the old gallery or the new one, and an interrupted save leaves the old
        one. One writer at a time. The layout is described in `storage`.
        """
        storage.write(Path(folder), self._index, self._names)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Gallery:
        """Read a gallery, verifying version, checksums and counts.

        Raises:
            FileNotFoundError: there is no gallery in `folder`.
            ValueError: it is damaged, incomplete, or of another version.
        """
        index, names = storage.read(Path(folder))
        gallery = cls(index.d)
        gallery._index, gallery._names = index, names
        return gallery

    def _append(self, names: Sequence[str], unit: npt.NDArray[np.float32]) -> None:
        start = next(reversed(self._names), -1) + 1  # ids only grow
        ids = np.arange(start, start + len(names), dtype=np.int64)
        self._index.add_with_ids(unit, ids)
        self._names.update(zip(ids.tolist(), names, strict=True))

    def _unit(self, embeddings: Any) -> npt.NDArray[np.float32]:
        if hasattr(embeddings, "detach"):  # a tensor, on any device and of any float type
            embeddings = embeddings.detach().float().cpu().numpy()
        unit = unit_embeddings(embeddings)
        if unit.shape[1] != self.embedding_size:
            raise ValueError(
                f"embeddings must have {self.embedding_size} columns, got {unit.shape[1]}"
            )
        return unit


def _check_names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise ValueError(f"names must be a sequence of strings, got the string {names!r}")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"names must be non-empty strings, got {name!r}")
    return [str(name) for name in names]
