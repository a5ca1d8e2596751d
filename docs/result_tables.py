"""The tables of docs/results: means over seeds, differences and costs of a task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from fairloss.experiments.measure import unit

BINS = ("head", "mid", "tail")
SEEDS = (8, 12, 24)  # for which the sensitivity of a task is shown
SHORT = {  # the metrics of the tables beside the primary one
    "test_tar_1e-4": "TAR@1e-4",
    "closed_accuracy": "closed-set accuracy",
    "closed_accuracy_gap": "head - tail",
    "test_mean_tar": "mean TAR",
    "closed_ncm": "nearest class mean",
    "closed_ncm_gap": "nearest class mean, head - tail",
    "closed_angle": "angle to the class mean",
}


class Mean(NamedTuple):
    """A mean over seeds; low and high are its 95% interval, NaN with one seed."""

    value: float
    low: float
    high: float


class Task:
    """A task of long_tail.json, and the folder of its raw results."""

    def __init__(self, content: dict[str, Any], raw: Path) -> None:
        self.name: str = content["name"]
        self.primary: str = content["primary_metric"]
        self.bound: float = content["bound"]
        self.differences: list[dict[str, Any]] = content["differences"]
        self.runs = {(run["arm"], run["seed"]): run for run in content["runs"]}
        self.arms = list(content["seeds"])
        self.raw = raw

    @property
    def decided(self) -> list[dict[str, Any]]:
        """The paired differences with a decision."""
        return [row for row in self.differences if "decision" in row]

    def measured(self, names: Iterable[str]) -> list[str]:
        """Return the metrics of these that some runs have, the primary one first."""
        names = dict.fromkeys([self.primary, *names])
        return [
            name
            for name in names
            if any(isinstance(r["metrics"].get(name), float) for r in self.runs.values())
        ]

    def values(self, arm: str, metric: str) -> list[float]:
        """Return a metric of an arm by seed, without seeds whose images could not measure it."""
        values = [run["metrics"].get(metric) for (name, _), run in self.runs.items() if name == arm]
        return [value for value in values if isinstance(value, float)]

    def cost(self, arm: str) -> tuple[float, float]:
        """Return the mean cost of a run of an arm, and that of paying for its tuning once.

        Both are in trainings, those of the first arm with the same seed, as seeds differ in their
        images. Collection of a policy and the runs that a choice does not select are tuning, whose
        cost the second number divides by the seeds.
        """
        runs = [run for (name, _), run in self.runs.items() if name == arm]
        total = np.mean([run["cost_steps"] / self._training_steps(run["seed"]) for run in runs])
        trained = np.mean([self._training_cost(run) for run in runs])
        return float(total), float(trained + (total - trained) / len(runs))

    def _training_cost(self, run: dict[str, Any]) -> float:
        run = self.runs[run.get("chosen", run["arm"]), run["seed"]]
        steps = run["cost_steps"] - (run.get("collection_steps") or 0.0)
        return steps / self._training_steps(run["seed"])

    def _training_steps(self, seed: int) -> float:
        """Return the steps of the first arm; where it has no result, the mean of other seeds."""
        steps = {
            s: run["train_steps"] for (arm, s), run in self.runs.items() if arm == self.arms[0]
        }
        return steps.get(seed, float(np.mean(list(steps.values()))))


def mean(values: Sequence[float]) -> Mean:
    """Return the mean and its 95% interval by t quantiles."""
    value = float(np.mean(values))
    if len(values) < 2:
        return Mean(value, math.nan, math.nan)
    half = float(stats.t.isf(0.025, len(values) - 1) * stats.sem(values))
    return Mean(value, value - half, value + half)


def unit_name(metric: str) -> str:
    """Return the name of the unit of a metric times `unit`."""
    return "degrees" if "angle" in metric else "points"


def label(metric: str) -> str:
    """Return the name of a metric for a reader."""
    return SHORT.get(metric, metric)


def arms_table(task: Task) -> str:
    """Return the metrics of every arm: mean over seeds with its 95% interval."""
    metrics = task.measured(list(SHORT)[:3])
    rows = []
    for arm in task.arms:
        seeds = len(task.values(arm, task.primary))
        cells = [_seeds_cell(task.values(arm, m), unit(m), seeds) for m in metrics]
        rows.append((f"`{arm}`", str(seeds), *cells))
    return markdown(("arm", "seeds", *map(label, metrics)), rows)


def contrasts_table(task: Task) -> str:
    """Return the paired differences of the metrics with a decision."""
    columns = ("metric", "arms", "seeds", "difference", "TOST p", "Holm's p", "decision")
    rows = [
        (*_difference(row), _p_value(row, "tost_p"), _p_value(row, "holm_p"), row["decision"])
        for row in task.decided
    ]
    return markdown(columns, rows)


def secondary_table(task: Task) -> str:
    """Return the paired differences of other metrics, which have no decision."""
    rows = [
        (*_difference(row), _p_value(row, "holm_p"))
        for metric in SHORT
        for row in task.differences
        if row["metric"] == metric and row not in task.decided
    ]
    return markdown(("metric", "arms", "seeds", "difference", "Holm's p"), rows)


def _difference(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = Mean(row["mean"], row.get("low", math.nan), row.get("high", math.nan))
    difference = _interval(numbers, unit(row["metric"]), sign="+")
    arms = f"`{row['arm']}` - `{row['reference']}`"
    return label(row["metric"]), arms, str(len(row["seeds"])), difference


def _p_value(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.2g}" if name in row else ""


def bins_table(task: Task) -> str:
    """Return the closed-set metrics of classes with the most, medium and fewest images."""
    names = [
        f"closed_{name}_{bin_name}" for name in ("accuracy", "ncm", "angle") for bin_name in BINS
    ]
    metrics = [name for name in task.measured(names) if name in names]
    rows = [
        (f"`{arm}`", *(_mean_cell(task.values(arm, m), unit(m)) for m in metrics))
        for arm in task.arms
    ]
    columns = [name.removeprefix("closed_").replace("_", ", ") for name in metrics]
    return markdown(("arm", *columns), rows)


def cost_table(task: Task) -> str:
    """Return the cost of every arm in trainings, and the primary metric."""
    rows = []
    for arm in task.arms:
        once, spread = task.cost(arm)
        value = unit(task.primary) * mean(task.values(arm, task.primary)).value
        rows.append((f"`{arm}`", f"{once:.2f}", f"{spread:.2f}", f"{value:.2f}"))
    columns = ("arm", "trainings", "trainings, tuned once for all seeds", label(task.primary))
    return markdown(columns, rows)


def fixed_arms(task: Task) -> list[str]:
    """Return the arms of one margin each."""
    return [arm for arm in task.arms if arm.startswith("fixed_")]


def sensitivity_table(task: Task) -> str:
    """Return how far the fixed margin moves each metric, in errors of a mean paired difference."""
    rows = []
    for metric in task.measured(list(SHORT)[:3]):
        factor = unit(metric)
        means = {arm: factor * mean(task.values(arm, metric)).value for arm in fixed_arms(task)}
        lowest, highest = (choose(means, key=means.__getitem__) for choose in (min, max))
        moved, sd = means[highest] - means[lowest], factor * difference_sd(task, metric)
        ends = [f"{means[arm]:.2f} (`{arm}`)" for arm in (lowest, highest)]
        errors = [f"{moved * math.sqrt(seeds) / sd:.1f}" for seeds in SEEDS]
        halves = [f"{stats.t.isf(0.025, n - 1) * sd / math.sqrt(n):.2f}" for n in SEEDS]
        rows.append((label(metric), *ends, f"{sd:.2f}", " / ".join(errors), " / ".join(halves)))
    seeds = " / ".join(map(str, SEEDS))
    columns = ("metric", "lowest", "highest", "sd of a difference")
    counted = (f"range in standard errors, {seeds} seeds", f"half-width, {seeds} seeds")
    return markdown((*columns, *counted), rows)


def difference_sd(task: Task, metric: str) -> float:
    """Return the standard deviation over seeds of the difference of two arms.

    From the residuals of all arms and seeds without the means of both: with few seeds, the
    deviation of a single difference would have few degrees of freedom.
    """
    values = np.array([task.values(arm, metric) for arm in task.arms])
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    arms, seeds = values.shape
    return math.sqrt(2 * float((residuals**2).sum()) / ((arms - 1) * (seeds - 1)))


def _mean_cell(values: Sequence[float], factor: float) -> str:
    return f"{factor * mean(values).value:.1f}" if values else ""


def _seeds_cell(values: Sequence[float], factor: float, seeds: int) -> str:
    """Return a mean and its interval, with the number of seeds where that is not `seeds`."""
    if not values:
        return ""
    fewer = "" if len(values) == seeds else f", {len(values)} of {seeds} seeds"
    return _interval(mean(values), factor) + fewer


def _interval(numbers: Mean, factor: float, sign: str = "") -> str:
    value, low, high = (factor * number for number in numbers)
    interval = "" if math.isnan(low) else f" [{low:{sign}.2f}, {high:{sign}.2f}]"
    return f"{value:{sign}.2f}{interval}"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
