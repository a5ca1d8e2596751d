"""Paired differences of arms over seeds."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fairloss.evaluation import SeedComparison, compare_seeds
from fairloss.evaluation.compare_extra import import_extra
from fairloss.evaluation.seeds import MIN_SEEDS

ALPHA = 0.05


def paired_differences(task: Mapping[str, Any], bound: float) -> list[dict[str, Any]]:
    """Compare every arm with the first one, on each metric that was measured in all runs.

    Args:
        task: of summary.json, with "primary_metric" and "runs".
        bound: differences of the primary metric up to this size count as equal.

    Returns:
        One dict for each metric and arm, the primary metric first: "metric", "arm", "reference",
        "differences" by seed, and "mean". With several seeds that differ: "low", "high", "sd",
        "t_p", "tost_p". Of the primary metric also "decision": "decided: ...", where the
        equivalence test passes or the 95% interval excludes 0, or "undecided: ..." with the seeds
        it would take.
    """
    runs, primary = task["runs"], task["primary_metric"]
    arms = list(dict.fromkeys(run["arm"] for run in runs))
    metrics = [primary, *(name for name in runs[0]["metrics"] if name != primary)]
    measured = [
        metric
        for metric in metrics
        if not any(isinstance(run["metrics"][metric], str) for run in runs)
    ]
    rows = []
    for metric in measured:
        values = {
            arm: np.array([run["metrics"][metric] for run in runs if run["arm"] == arm])
            for arm in arms
        }
        for arm in arms[1:]:
            row = {"metric": metric, "arm": arm, "reference": arms[0]}
            rows.append(row | _difference(values[arms[0]], values[arm], bound, metric == primary))
    return rows


def _difference(a: Any, b: Any, bound: float, is_primary: bool) -> dict[str, Any]:
    differences = b - a
    row = {"differences": differences.tolist(), "mean": float(differences.mean())}
    comparison = None
    if np.ptp(differences) > 0:
        comparison = compare_seeds(a, b, bound, ALPHA)
        names = ("low", "high", "sd", "t_p", "tost_p")
        row |= {name: getattr(comparison, name) for name in names}
    return row | ({"decision": decide(comparison)} if is_primary else {})


def decide(comparison: SeedComparison | None) -> str:
    """Return the decision about a comparison; None is one whose differences do not vary."""
    if comparison is None:
        return f"undecided: takes {MIN_SEEDS} seeds or more, whose differences vary"
    if comparison.seeds >= MIN_SEEDS:
        if comparison.tost_p <= ALPHA:
            return "decided: within the bound"
        if comparison.low > 0 or comparison.high < 0:
            return f"decided: {'higher' if comparison.low > 0 else 'lower'}"
    seeds = deciding_seeds(comparison.sd, comparison.bound)
    return f"undecided: about {seeds} seeds would decide"


def deciding_seeds(sd: float, bound: float) -> int:
    """Return the number of seeds that decide whatever the mean is, at this standard deviation.

    No mean is then both too close to 0 for the interval and too far from it for the equivalence
    test: the sum of their half-widths is at most the bound.
    """
    stats = import_extra("scipy.stats")

    def width(distribution: Any) -> float:
        return float(distribution.isf(ALPHA / 2) + distribution.isf(ALPHA)) * sd

    least = math.ceil((width(stats.norm) / bound) ** 2)  # of a known standard deviation
    seeds = max(MIN_SEEDS, least)
    while width(stats.t(seeds - 1)) > bound * math.sqrt(seeds):
        seeds += 1
    return seeds
