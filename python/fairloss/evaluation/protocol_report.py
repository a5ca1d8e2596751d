"""Reports of every protocol: the numbers of one model, or the comparison of two, with intervals.

Each protocol has one class of statistics: numbers, the influence of each pair or trial on them, for
the intervals, and the numbers as functions of weights, for the bootstrap that checks these. Reports
and comparisons are both made from it here.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial, reduce
from operator import getitem
from typing import Any, Protocol

import numpy.typing as npt

from fairloss.checks import check_integer
from fairloss.evaluation.bootstrap import (
    Interval,
    WeightedStatistics,
    cluster_intervals,
    difference_of,
    pair_intervals,
)
from fairloss.evaluation.clusters import Clusters, pair_clusters, trial_clusters
from fairloss.evaluation.influence import InfluenceFunction
from fairloss.evaluation.intervals import (
    FEW_IDENTITIES,
    IdentityInterval,
    difference_interval,
    influence_interval,
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

    @property
    def influences(self) -> Mapping[KeyPath, InfluenceFunction]:
        """The numbers that have an interval, by their keys in `point`."""

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return the same numbers under weights of the pairs or trials."""


@dataclass(frozen=True)
class Sampling:
    """The identities of the pairs or trials of a report, which are a sample of many.

    Attributes:
        clusters: for the intervals.
        bootstrap: that checks them, None for no check.
    """

    clusters: Clusters
    bootstrap: Bootstrap | None = None


def protocol_report(sides: Sequence[Sequence[Statistics]], sampling: Sampling) -> dict[str, Any]:
    """Report on one model, or compare two sides of one or several on the same data.

    Returns:
        JSON-ready: of one model `point` with an `IdentityInterval` for each number that has one, of
        two what `compare` returns. Where few identities are behind a number, "warnings" says so.
    """
    if len(sides) == 2:
        a, b = sides
        return compare(a, b, sampling)
    ((model,),) = sides
    intervals = {
        keys: influence_interval(influence(sampling.clusters), sampling.clusters)
        for keys, influence in model.influences.items()
    }
    report = {"version": REPORT_VERSION} | _warnings(intervals) | deepcopy(model.point)
    return _with_intervals(report, intervals, sampling.bootstrap, model.weighted)


def compare(a: Sequence[Statistics], b: Sequence[Statistics], sampling: Sampling) -> dict[str, Any]:
    """Compare two models on the same data, or two sides of several networks each.

    Of two models the effects of each pair are subtracted. Of several a side, such as networks of
    different seeds, the means are compared, with a variance over networks and identities
    (`difference_interval`); the bootstrap, which draws no networks, does not check it.

    Returns:
        JSON-ready: "a" and "b" (`point` each, or "networks": a list of these) and "difference" (b
        minus a in the layout of `point`, an `IdentityInterval` each or the reason why there is
        none).
    """
    clusters, every = sampling.clusters, [*a, *b]
    functions = [model.influences for model in every]  # once: it may sort all pairs
    intervals = {}
    for keys in functions[0]:
        if all(keys in each for each in functions):
            influences = [each[keys](clusters) for each in functions]
            sides = influences[: len(a)], influences[len(a) :]
            intervals[keys] = difference_interval(*sides, clusters)
    weighted = difference_of(a[0].weighted, b[0].weighted)
    bootstrap = sampling.bootstrap if len(every) == 2 else None
    difference = _with_intervals({}, intervals, bootstrap, weighted)
    for model in every:
        for keys, reason in _reasons(model.point).items():
            _set(difference, keys, reason)
    points = [
        side[0].point if len(side) == 1 else {"networks": [model.point for model in side]}
        for side in (a, b)
    ]
    head = {"version": REPORT_VERSION} | _warnings(intervals)
    return head | {"a": points[0], "b": points[1], "difference": difference}


def pair_sampling(pairs: Pairs, identities: npt.ArrayLike, replicates: int, seed: int) -> Sampling:
    """Return the sampling of pairs; with replicates, the bootstrap draws identities."""
    bootstrap = partial(
        pair_intervals, pairs=pairs, identities=identities, replicates=replicates, seed=seed
    )
    return Sampling(pair_clusters(pairs, identities), optional_bootstrap(bootstrap, replicates))


def trial_sampling(clusters: npt.ArrayLike, replicates: int, seed: int) -> Sampling:
    """Return the sampling of trials; with replicates, the bootstrap draws clusters."""
    bootstrap = partial(cluster_intervals, clusters=clusters, replicates=replicates, seed=seed)
    return Sampling(trial_clusters(clusters), optional_bootstrap(bootstrap, replicates))


def optional_bootstrap(bootstrap: Bootstrap, replicates: int) -> Bootstrap | None:
    """Return the bootstrap, or None for 0 replicates."""
    return bootstrap if check_integer("replicates", replicates, 0) else None


def _with_intervals(
    report: dict[str, Any],
    intervals: Mapping[KeyPath, IdentityInterval],
    bootstrap: Bootstrap | None,
    weighted: WeightedStatistics[KeyPath],
) -> dict[str, Any]:
    """Set the intervals in a report, each with that of the bootstrap under "bootstrap"."""
    drawn = {} if bootstrap is None else bootstrap(weighted)
    for keys, interval in intervals.items():
        check = drawn.get(keys)
        if check is None:
            _set(report, keys, interval.as_dict())
            continue
        names = ("low", "high", "replicates", "undefined")
        numbers = {name: getattr(check, name) for name in names}
        _set(report, keys, interval.as_dict() | {"bootstrap": numbers})
    return report


def _warnings(intervals: Mapping[KeyPath, IdentityInterval]) -> dict[str, list[str]]:
    """Return "warnings" of too few identities, if any."""
    fewest = min((each.identities for each in intervals.values()), default=FEW_IDENTITIES)
    if fewest >= FEW_IDENTITIES:
        return {}
    text = f"{fewest} identities: intervals from fewer than {FEW_IDENTITIES} may be too narrow"
    return {"warnings": [text]}


def _set(report: dict[str, Any], keys: KeyPath, value: Any) -> None:
    *parents, name = keys
    for parent in parents:
        report = report.setdefault(parent, {})
    report[name] = value


def measured(
    point: Mapping[str, Any], functions: Mapping[KeyPath, InfluenceFunction]
) -> dict[KeyPath, InfluenceFunction]:
    """Return the influence functions of the numbers of a report that have a value."""
    return {
        keys: function
        for keys, function in functions.items()
        if not isinstance(reduce(getitem, keys, point), Unmeasured)
    }


def _reasons(report: Mapping[str, Any], keys: KeyPath = ()) -> dict[KeyPath, Unmeasured]:
    reasons: dict[KeyPath, Unmeasured] = {}
    for key, value in report.items():
        path = (*keys, key)
        if isinstance(value, dict):
            reasons |= _reasons(value, path)
        elif isinstance(value, Unmeasured):
            reasons[path] = value
    return reasons
