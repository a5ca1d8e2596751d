"""Reports of every protocol: the numbers of one model, or the comparison of two, with intervals.

Each protocol has one class of statistics, whose numbers are functions of weights of pairs or
trials; reports and comparisons are both made from it here.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt

from fairloss.evaluation.bootstrap import (
    Interval,
    WeightedStatistics,
    cluster_intervals,
    difference_of,
    pair_intervals,
)
from fairloss.evaluation.pairs import Pairs
from fairloss.typing import Float64s

REPORT_VERSION = 1

KeyPath = tuple[str, ...]  # the keys that lead to a number in a report
Bootstrap = Callable[[WeightedStatistics[KeyPath]], Mapping[KeyPath, Interval | None]]


class Unmeasured(str):
    """The reason why there is no number, which replaces it in a report."""

    __slots__ = ()


class Statistics(Protocol):
    """Numbers of one model under a protocol."""

    @property
    def point(self) -> dict[str, Any]:
        """The report without intervals."""

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return the numbers that have an interval, by their keys in `point`, under weights."""


def protocol_report(models: Sequence[Statistics], bootstrap: Bootstrap) -> dict[str, Any]:
    """Report on one model, or compare two on the same data.

    Returns:
        JSON-ready: of one model `point` with an `Interval` for each number that has one; of two
        what `compare` returns.
    """
    if len(models) == 2:
        return compare(models[0], models[1], bootstrap)
    report = {"version": REPORT_VERSION} | deepcopy(models[0].point)
    for keys, interval in bootstrap(models[0].weighted).items():
        if interval is not None:
            _set(report, keys, interval.as_dict())
    return report


def compare(a: Statistics, b: Statistics, bootstrap: Bootstrap) -> dict[str, Any]:
    """Compare two models on the same data, both under the same weights in each replicate.

    Returns:
        JSON-ready: "a" and "b" (`point` each) and "difference" (b minus a in the layout of `point`,
        an `Interval` each or the reason why there is none).
    """
    undefined = Unmeasured("not measurable: undefined on every replicate")
    difference: dict[str, Any] = {}
    for keys, interval in bootstrap(difference_of(a.weighted, b.weighted)).items():
        _set(difference, keys, undefined if interval is None else interval.as_dict())
    for keys, reason in (_reasons(a.point) | _reasons(b.point)).items():
        _set(difference, keys, reason)
    return {"version": REPORT_VERSION, "a": a.point, "b": b.point, "difference": difference}


def pair_bootstrap(
    pairs: Pairs, identities: npt.ArrayLike, replicates: int, seed: int
) -> Bootstrap:
    """Return the bootstrap of statistics of weights of pairs, which draws identities."""
    return partial(
        pair_intervals, pairs=pairs, identities=identities, replicates=replicates, seed=seed
    )


def cluster_bootstrap(clusters: npt.ArrayLike, replicates: int, seed: int) -> Bootstrap:
    """Return the bootstrap of statistics of weights of trials, which draws clusters."""
    return partial(cluster_intervals, clusters=clusters, replicates=replicates, seed=seed)


def _set(report: dict[str, Any], keys: KeyPath, value: Any) -> None:
    *parents, name = keys
    for parent in parents:
        report = report.setdefault(parent, {})
    report[name] = value


def _reasons(report: Mapping[str, Any], keys: KeyPath = ()) -> dict[KeyPath, Unmeasured]:
    reasons: dict[KeyPath, Unmeasured] = {}
    for key, value in report.items():
        path = (*keys, key)
        if isinstance(value, dict):
            reasons |= _reasons(value, path)
        elif isinstance(value, Unmeasured):
            reasons[path] = value
    return reasons
