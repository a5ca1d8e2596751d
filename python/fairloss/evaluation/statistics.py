"""From the numbers of a protocol, as functions of weights, to reports with intervals.

Every protocol has one class of statistics; reports on one model and comparisons of two are both
made from it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Protocol

import numpy.typing as npt

from fairloss.evaluation.bootstrap import (
    Interval,
    WeightedStatistics,
    Weights,
    minus,
    pair_intervals,
)
from fairloss.evaluation.pairs import Pairs

REPORT_VERSION = 1
UNMEASURED = "not measurable"  # how every text in place of a number begins
UNDEFINED = f"{UNMEASURED}: undefined on every replicate"

Place = tuple[str, ...]  # the keys that lead to a number in a report
Resample = Callable[[WeightedStatistics[Place]], Mapping[Place, Interval | None]]


class Statistics(Protocol):
    """Numbers of one model under a protocol."""

    @property
    def point(self) -> dict[str, Any]:
        """The report without intervals; in place of what cannot be measured, the reason."""

    def weighted(self, weights: Weights) -> dict[Place, float | None]:
        """By their place in `point`, the numbers that have an interval, under weights."""


def with_intervals(statistics: Statistics, resample: Resample) -> dict[str, Any]:
    """`point` with an `Interval` in place of each number that has one."""
    report = {"version": REPORT_VERSION} | deepcopy(statistics.point)
    for place, interval in resample(statistics.weighted).items():
        if interval is not None:
            _put(report, place, interval.as_dict())
    return report


def compare(a: Statistics, b: Statistics, resample: Resample) -> dict[str, Any]:
    """Two models on the same data, both under the same weights in each replicate.

    Returns:
        JSON-ready: "a" and "b" (`point` each) and "difference" (b minus a in the layout of `point`,
        an `Interval` each or the reason why there is none).
    """
    difference: dict[str, Any] = {}
    for place, interval in resample(minus(b.weighted, a.weighted)).items():
        _put(difference, place, UNDEFINED if interval is None else interval.as_dict())
    for place, reason in (_reasons(a.point) | _reasons(b.point)).items():
        _put(difference, place, reason)
    return {"version": REPORT_VERSION, "a": a.point, "b": b.point, "difference": difference}


def draw_people(pairs: Pairs, identities: npt.ArrayLike, replicates: int, seed: int) -> Resample:
    """Statistics of weights of `pairs` to their intervals, over the people of the samples."""
    return partial(
        pair_intervals, pairs=pairs, identities=identities, replicates=replicates, seed=seed
    )


def _put(report: dict[str, Any], place: Place, value: Any) -> None:
    *folders, name = place
    for folder in folders:
        report = report.setdefault(folder, {})
    report[name] = value


def _reasons(report: Mapping[str, Any], place: Place = ()) -> dict[Place, str]:
    found: dict[Place, str] = {}
    for key, value in report.items():
        inside = (*place, key)
        if isinstance(value, dict):
            found |= _reasons(value, inside)
        elif isinstance(value, str) and value.startswith(UNMEASURED):
            found[inside] = value
    return found
