"""Pairs of samples and their cosine scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.embeddings import unit_embeddings

CHUNK_FLOATS = 2**22  # 16 MiB of float32 for each side of a chunk of pairs


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of samples, by row number.

    Attributes:
        first, second: (P,) int64, rows of an (N, D) embedding array.
        genuine: (P,) bool, True where both samples show the same identity.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    genuine: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name, dtype in (("first", np.int64), ("second", np.int64), ("genuine", np.bool_)):
            array = getattr(self, name)
            if array.shape != (len(self.first),) or array.dtype != dtype:
                raise ValueError(
                    f"{name} must be a ({len(self.first)},) {np.dtype(dtype)} array, "
                    f"got shape {array.shape} and dtype {array.dtype}"
                )

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Pairs:
        return Pairs(self.first[rows], self.second[rows], self.genuine[rows])

    def equal(self, other: Pairs) -> bool:
        """Whether both hold the same pairs in the same order."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("first", "second", "genuine")
        )


def identity_index(identities: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Number the identities 0, 1, ... in sorted order.

    Args:
        identities: (N,) integers or strings.

    Returns:
        (N,) int64, equal where the identities are equal.
    """
    array = np.asarray(identities)
    if array.ndim != 1 or array.dtype.kind not in "iuUSO":
        raise ValueError(
            "identities must be an (N,) array of integers or strings, "
            f"got shape {array.shape} and dtype {array.dtype}"
        )
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def linked_identities(labels: npt.ArrayLike, pairs: Pairs) -> npt.NDArray[np.int64]:
    """Clusters of samples for the bootstrap: equal labels, and what genuine pairs link.

    Published lists name people loosely or not at all. People who are never linked count twice, so
    intervals from labels that tell images apart, not people, can be somewhat too narrow.

    Args:
        labels: (N,) integers or strings, such as names of people or numbers of images.
        pairs: P pairs of samples.

    Returns:
        (N,) equal numbers within a cluster.
    """
    index = identity_index(labels)
    parent = list(range(int(index.max(initial=-1)) + 1))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    linked = np.stack((index[pairs.first], index[pairs.second]), axis=1)[pairs.genuine]
    for first, second in linked.tolist():
        parent[root(first)] = root(second)
    return np.array([root(node) for node in index.tolist()], dtype=np.int64)


def all_pairs(identities: npt.ArrayLike) -> Pairs:
    """Every unordered pair of different samples, once: N (N - 1) / 2 of them.

    Args:
        identities: (N,) integers or strings.
    """
    index = identity_index(identities)
    first, second = np.triu_indices(len(index), k=1)
    return Pairs(first.astype(np.int64), second.astype(np.int64), index[first] == index[second])


def pair_scores(embeddings: npt.ArrayLike, pairs: Pairs) -> npt.NDArray[np.float32]:
    """Cosine of the angle between the two embeddings of each pair.

    Args:
        embeddings: (N, D) real numbers; normalised here.
        pairs: rows to compare. Works in chunks, so (P, D) is never held.

    Returns:
        (P,) float32 in [-1, 1].

    Raises:
        ValueError: a zero or non-finite row, or a pair that names a row outside 0..N-1.
    """
    unit = unit_embeddings(embeddings)
    for name, rows in (("first", pairs.first), ("second", pairs.second)):
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(unit):
            raise ValueError(
                f"pairs.{name} must hold rows 0..{len(unit) - 1}, got {rows.min()}..{rows.max()}"
            )
    scores = np.empty(len(pairs), dtype=np.float32)
    step = max(1, CHUNK_FLOATS // unit.shape[1])
    for start in range(0, len(pairs), step):
        chunk = slice(start, start + step)
        left, right = unit[pairs.first[chunk]], unit[pairs.second[chunk]]
        np.einsum("pd,pd->p", left, right, out=scores[chunk])
    return scores.clip(-1.0, 1.0, out=scores)  # rounding can leave 1 + 1e-7
