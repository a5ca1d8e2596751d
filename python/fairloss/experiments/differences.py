"""Paired differences of arms over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairloss.checks import expect
from fairloss.evaluation import SeedComparison, compare_seeds, holm
from fairloss.evaluation.compare_extra import import_extra
from fairloss.evaluation.seeds import MIN_SEEDS

ALPHA = 0.05


def paired_differences(
    task: Mapping[str, Any],
    bound: float,
    contrasts: Sequence[Sequence[str]] = (),
    decide_on: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Compare pairs of arms on each metric, over the seeds of which both have a value.

    Args:
        task: of summary.json, with "primary_metric" and "runs".
        bound: differences up to this size count as equal, of each metric with a decision.
        contrasts: (arm, reference) pairs; default: every arm with the first one. Those without a
            common seed have no row.
        decide_on: the metrics with a decision; default: the primary one.

    Returns:
        One dict for each metric and contrast, those with a decision first: "metric", "arm",
        "reference", "seeds" that both have, "differences" by seed, and "mean". With several seeds
        that differ: "low", "high", "sd", "t_p", "tost_p", and "holm_p", which is "t_p" adjusted
        by Holm's method over the contrasts of the same metric. With a decision also "decision":
        "decided: ...", where the equivalence test passes or the 95% interval excludes 0, or
        "undecided: ..." with the seeds it would take. Decisions are not adjusted.

    Raises:
        ValueError: a metric of `decide_on` was measured in no run.
    """
    runs = task["runs"]
    first, *others = dict.fromkeys(run["arm"] for run in runs)
    contrasts = contrasts or [(arm, first) for arm in others]
    decide_on = decide_on or [task["primary_metric"]]
    measured = dict.fromkeys(name for run in runs for name in numbers(run["metrics"]))
    for metric in decide_on:
        expect(metric in measured, "decide", f"measured metrics, of {', '.join(measured)}", metric)
    rows = []
    for metric in dict.fromkeys([*decide_on, *measured]):
        values: dict[str, dict[int, float]] = {}
        for run in runs:
            if metric in numbers(run["metrics"]):
                values.setdefault(run["arm"], {})[run["seed"]] = run["metrics"][metric]
        group = [
            {"metric": metric, "arm": arm, "reference": reference}
            | _difference(values[reference], values[arm], bound, metric in decide_on)
            for arm, reference in contrasts
            if values.get(arm, {}).keys() & values.get(reference, {}).keys()
        ]
        _adjust(group)
        rows += group
    return rows


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a run without those that its images could not measure."""
    return {name: value for name, value in metrics.items() if not isinstance(value, str)}


def _difference(
    a: Mapping[int, float], b: Mapping[int, float], bound: float, decided: bool
) -> dict[str, Any]:
    seeds = [seed for seed in a if seed in b]
    scores_a, scores_b = (np.array([arm[seed] for seed in seeds]) for arm in (a, b))
    differences = scores_b - scores_a
    row = {
        "seeds": seeds,
        "differences": differences.tolist(),
        "mean": float(differences.mean()),
    }
    comparison = None
    if np.ptp(differences) > 0:
        comparison = compare_seeds(scores_a, scores_b, bound, ALPHA)
        names = ("low", "high", "sd", "t_p", "tost_p")
        row |= {name: getattr(comparison, name) for name in names}
    return row | ({"decision": decide(comparison)} if decided else {})


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Add "holm_p" to the rows of a metric that have a p value."""
    p_values = {str(number): row["t_p"] for number, row in enumerate(rows) if "t_p" in row}
    adjusted = holm(p_values) if len(p_values) > 1 else p_values
    for number, p_value in adjusted.items():
        rows[int(number)]["holm_p"] = p_value


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
