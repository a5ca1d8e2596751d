"""Variance of numbers made of pairs or trials that share identities.

Two pairs that share an identity are correlated, two that share none are not. The variance of a sum
over pairs is therefore the sum of the products of their effects over all pairs of pairs with a
common identity (Fafchamps and Gubert, "The formation of risk sharing networks", 2007; for matching
tasks arXiv 2306.01198). With u_a the sum of the effects of the pairs of identity a, and w_ab of
those of a with b, that is sum_a u_a^2 - sum_(a<b) w_ab^2: each product counts once, also in w_ab,
which is in u_a and in u_b. Nothing is drawn, so one pass over the pairs is enough.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from fairloss.checks import expect
from fairloss.evaluation.pairs import Pairs, identity_index
from fairloss.typing import Bools, Float64s, Ints

Scale: TypeAlias = Literal["share", "spread", "ratio"]

# Smallest share of the pairs that counts as left when an identity is deleted: bounds the weight of
# an identity that is in nearly all pairs of a small list.
SMALLEST_REST = 0.1


@dataclass(frozen=True, eq=False)
class Observations:
    """The pairs or trials that a number is computed from.

    Attributes:
        counted: (R,) bool, those of which the number is a share, such as the genuine pairs of a
            TAR; the others only move the threshold.
        rows: (R,) rows of all observations, None for all.
    """

    counted: Bools
    rows: Ints | None = None


@dataclass(frozen=True, eq=False)
class Influence:
    """A number and the effect of each observation on it, to first order.

    Attributes:
        value: the number.
        effects: (R,) derivative by the weight of each observation, sum 0.
        observations: R of them.
        scale: "share" in [0, 1], "spread" of at least 0, or "ratio" of at least 1.
        variance: beyond that of the effects, such as that of a threshold at an optimum.
    """

    value: float
    effects: Float64s
    observations: Observations
    scale: Scale = "share"
    variance: float = 0.0


class Moments(NamedTuple):
    """Precision of a number.

    Attributes:
        variance: of the number.
        identities: number of identities in its observations.
        effective: number of independent observations that the counted ones are worth at least,
            when those of one identity are all equal.
    """

    variance: float
    identities: int
    effective: float


class Clusters:
    """The identities of P observations: of a pair two, of a genuine pair or a trial one.

    Args:
        first: (P,) int64, numbers of identities.
        second: (P,) int64, likewise, equal to `first` for a trial.
    """

    def __init__(self, first: Ints, second: Ints) -> None:
        low, high = np.minimum(first, second), np.maximum(first, second)
        self._identities = int(high.max(initial=-1)) + 1
        key, self._cell = _compact(low * self._identities + high, self._identities**2)
        self._first, self._second = key // self._identities, key % self._identities
        self._two = self._first != self._second
        # weak, as observations of single numbers are as large as all pairs
        self._shares: WeakKeyDictionary[Observations, tuple[Float64s, Float64s]] = (
            WeakKeyDictionary()
        )
        self._subsets: dict[int, tuple[Ints, Clusters]] = {}

    def subset(self, rows: Ints) -> "Clusters":
        """Return the clusters of some observations."""
        if id(rows) not in self._subsets:  # the numbers of a group share an array of rows
            cell = self._cell[rows]
            self._subsets[id(rows)] = rows, Clusters(self._first[cell], self._second[cell])
        return self._subsets[id(rows)][1]

    def moments(self, influence: Influence) -> Moments:
        """Return the variance of a number and what its quantiles depend on.

        Effects are divided by the share of the pairs that is left without the identity, as a
        deletion of the identity does (the jackknife), which removes the bias of few identities.
        """
        observations, effects = influence.observations, influence.effects
        cell = self._cells(observations)
        counted = self._sum(cell, effects * observations.counted)
        cells = self._sum(cell, effects)
        share, other_share = self._share(observations)
        present = int(np.count_nonzero(share + other_share))
        rest = np.maximum(1 - share, SMALLEST_REST), np.maximum(1 - other_share, SMALLEST_REST)
        total = self._of_identity(counted) / rest[0]
        total += self._of_identity(cells - counted) / rest[1]
        scale = (present - 1) / present
        pairs = cells[self._two] ** 2
        # what both identities of a pair count of it, but for the one time that is due
        twice = scale * sum(1 / rest[1][side[self._two]] for side in (self._first, self._second))
        variance = scale * float(total @ total) - float(pairs @ (twice - 1))
        return Moments(
            # correlations within an identity are positive, so independent cells are a lower bound
            max(variance, float(cells @ cells)) + influence.variance,
            present,
            float(share.sum() / (share @ share)) if share.any() else float(present),
        )

    def _cells(self, observations: Observations) -> Ints:
        return self._cell if observations.rows is None else self._cell[observations.rows]

    def _sum(self, cell: Ints, values: npt.NDArray[np.generic]) -> Float64s:
        return np.bincount(cell, values, len(self._first)).astype(np.float64, copy=False)

    def _of_identity(self, cells: Float64s) -> Float64s:
        """Sum over the cells of each identity, as first or as second."""
        two, number = self._two, self._identities
        first = np.bincount(self._first, cells, number).astype(np.float64, copy=False)
        return first + np.bincount(self._second[two], cells[two], number)

    def _share(self, observations: Observations) -> tuple[Float64s, Float64s]:
        """Return the share of each identity in the counted observations and in the others."""
        if observations not in self._shares:
            cell, counted = self._cells(observations), observations.counted
            parts = [self._of_identity(self._sum(cell, kind)) / max(kind.sum(), 1)
                     for kind in (counted, ~counted)]  # fmt: skip
            self._shares[observations] = parts[0], parts[1]
        return self._shares[observations]


def pair_clusters(pairs: Pairs, identities: npt.ArrayLike) -> Clusters:
    """Return the clusters of pairs.

    Raises:
        ValueError: `pairs` and `identities` disagree, or fewer than 2 identities appear.
    """
    first, second = paired_identities(pairs, identities)
    return Clusters(first, second)


def paired_identities(pairs: Pairs, identities: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Return the numbers 0, 1, ... of the identities of each pair, among those that appear."""
    index = identity_index(identities)
    first, second = index[pairs.first], index[pairs.second]
    differ = int((first != second)[pairs.genuine].sum())
    expect(not differ, "pairs.genuine", "pairs of one identity", f"{differ} pairs of two")
    present = np.zeros(int(index.max(initial=-1)) + 1, dtype=np.bool_)
    present[first] = present[second] = True
    number, count = np.cumsum(present) - 1, int(present.sum())
    expect(count >= 2, "pairs", "at least 2 identities", count)
    return number[first], number[second]


def trial_clusters(clusters: npt.ArrayLike) -> Clusters:
    """Return the clusters of trials, such as probes, each of one identity."""
    index = identity_index(clusters)
    return Clusters(index, index)


def _compact(keys: Ints, size: int) -> tuple[Ints, Ints]:
    """Return the distinct keys, rising, and the position of each key among them."""
    if size > 4 * len(keys):
        return np.unique(keys, return_inverse=True)
    present = np.zeros(size, dtype=np.bool_)  # without sorting, where keys are dense
    present[keys] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[keys]
