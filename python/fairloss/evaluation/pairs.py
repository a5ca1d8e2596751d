"""Pairs of samples and their cosine scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_length, expect
from fairloss.embeddings import unit_embeddings
from fairloss.typing import Bools, Float32s, Ints

CHUNK_FLOATS = 2**22  # 16 MiB of float32 for each side of a chunk of pairs


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of samples, by row number.

    Attributes:
        first: (P,) int64, rows of an (N, D) embedding array.
        second: (P,) int64, likewise.
        genuine: (P,) bool, True where both samples show the same identity.
    """

    first: Ints
    second: Ints
    genuine: Bools

    def __post_init__(self) -> None:
        for name, dtype in (("first", np.int64), ("second", np.int64), ("genuine", np.bool_)):
            array = getattr(self, name)
            expect(
                array.shape == (len(self.first),) and array.dtype == dtype,
                name,
                f"a ({len(self.first)},) {np.dtype(dtype)} array",
                f"shape {array.shape} and dtype {array.dtype}",
            )

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, rows: Ints) -> Pairs:
        return Pairs(self.first[rows], self.second[rows], self.genuine[rows])

    def equal(self, other: Pairs) -> bool:
        """Return True if both hold the same pairs in the same order."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("first", "second", "genuine")
        )


def identity_index(identities: npt.ArrayLike) -> Ints:
    """Number the identities 0, 1, ... in sorted order.

    Args:
        identities: (N,) integers or strings.

    Returns:
        (N,) int64, equal where the identities are equal.
    """
    array = check_identities("identities", identities)
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def check_identities(
    name: str, identities: npt.ArrayLike, rows: npt.ArrayLike | None = None
) -> npt.NDArray[Any]:
    """Return (N,) integers or strings, one for each of the rows, or raise ValueError."""
    array = np.asarray(identities)
    expect(
        array.ndim == 1 and array.dtype.kind in "iuUSO",
        name,
        "an (N,) array of integers or strings",
        f"shape {array.shape} and dtype {array.dtype}",
    )
    if rows is not None:
        check_length(name, len(array), len(np.asarray(rows)), "entries, one for each row")
    return array


def linked_identities(labels: npt.ArrayLike, pairs: Pairs) -> Ints:
    """Cluster samples for the bootstrap: equal labels, and samples that genuine pairs link.

    Published lists name identities loosely or not at all. An identity whose images are never linked
    counts twice, so intervals from labels of images instead of identities can be somewhat too
    narrow.

    Args:
        labels: (N,) integers or strings, such as names of identities or numbers of images.
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


def pair_scores(embeddings: npt.ArrayLike, pairs: Pairs) -> Float32s:
    """Compute the cosine of the angle between the two embeddings of each pair.

    Args:
        embeddings: (N, D) real numbers; normalized here.
        pairs: rows to compare. Works in chunks, so (P, D) is never held.

    Returns:
        (P,) float32 in [-1, 1].

    Raises:
        ValueError: a zero or non-finite row, or a pair that names a row outside 0..N-1.
    """
    unit = unit_embeddings(embeddings)
    for name, rows in (("first", pairs.first), ("second", pairs.second)):
        low, high = rows.min(initial=0), rows.max(initial=0)
        expect(
            not len(rows) or 0 <= low <= high < len(unit),
            f"pairs.{name}",
            f"rows 0..{len(unit) - 1}",
            f"{low}..{high}",
        )
    scores = np.empty(len(pairs), dtype=np.float32)
    step = max(1, CHUNK_FLOATS // unit.shape[1])
    for start in range(0, len(pairs), step):
        chunk = slice(start, start + step)
        left, right = unit[pairs.first[chunk]], unit[pairs.second[chunk]]
        np.einsum("pd,pd->p", left, right, out=scores[chunk])
    return scores.clip(-1.0, 1.0, out=scores)  # rounding can leave 1 + 1e-7
