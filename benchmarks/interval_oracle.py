"""Intervals with a known standard deviation, for docs/evaluation.md.

    python benchmarks/interval_oracle.py --results benchmarks/results/interval-oracle.json

How well can an interval do that is symmetric on a scale, such as the log odds? Here the standard
deviation of the estimate on that scale is known: that of all runs. Half the width is a multiple
of it, the same in all runs. The records have the coverage at the largest multiple whose mean width
is as required, and the width at the smallest multiple that covers enough.

Beside them are intervals from the variance of each run, with t quantiles: on the log odds those of
a report, and "corrected" by the bias of the scale to second order. The scores are
those of interval_coverage.py, of other seeds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
from coverage_table import NAMES
from interval_coverage import (
    LOWEST_OF_FEW,
    MEASURABLE,
    MODELS,
    WIDTH,
    Cell,
    draw_scores,
    score_truth,
)
from scipy import special

from fairloss.evaluation.influence import RocInfluence
from fairloss.evaluation.intervals import t_quantile
from fairloss.evaluation.roc import RocCorners
from fairloss.io.atomic import write_text
from fairloss.typing import Float64s

SEED = 1  # before the run and the number of identities
CELLS = (("strong", "10 x 10"), ("strong, harder", "10 x 10"), ("strong", "20 x 5"))
NUMBERS = (("auc",), ("tar", "0.01"))
MULTIPLES = np.linspace(0.5, 8, 751)
CONFIDENCE = 0.95


def derivative_of_log_odds(share: Float64s) -> Float64s:
    """Return the derivative by the share."""
    return 1 / (share * (1 - share))


def derivative_of_normal_deviate(share: Float64s) -> Float64s:
    """Return the derivative by the share."""
    return np.sqrt(2 * np.pi) * np.exp(special.ndtri(share) ** 2 / 2)


@dataclass(frozen=True)
class ShareScale:
    """A scale of shares.

    Attributes:
        forward: of shares.
        backward: to shares.
        derivative: of `forward`.
        curvature: second derivative of `forward` over the square of the first.
    """

    forward: Callable[[Float64s], Float64s]
    backward: Callable[[Float64s], Float64s]
    derivative: Callable[[Float64s], Float64s]
    curvature: Callable[[Float64s], Float64s]


SHARE_SCALES = {
    "log odds": ShareScale(
        special.logit, special.expit, derivative_of_log_odds, lambda share: 2 * share - 1
    ),
    "normal deviate": ShareScale(
        special.ndtri, special.ndtr, derivative_of_normal_deviate, special.ndtri
    ),
}


def estimates(scores: str, cell: Cell, runs: int) -> dict[tuple[str, ...], Float64s]:
    """Return value and variance, (runs, 2), of each number."""
    drawn: dict[tuple[str, ...], list[tuple[float, float]]] = {keys: [] for keys in NUMBERS}
    for run in range(runs):
        values = draw_scores(scores, cell, np.random.default_rng([SEED, run, cell.identities]))[0]
        roc = RocInfluence(RocCorners(values, cell.pairs.genuine), cell.pairs.genuine)
        for keys in NUMBERS:
            influence = roc.auc(cell.clusters)
            if keys[0] == "tar":
                influence = roc.tar_at(cell.clusters, float(keys[1]))
            variance = cell.clusters.moments(influence).variance
            drawn[keys].append((influence.value, variance))
    return {keys: np.array(pairs) for keys, pairs in drawn.items()}


def trade(value: Float64s, truth: float, scale: ShareScale) -> dict[str, Any]:
    """Return what intervals with a known standard deviation reach."""
    center = scale.forward(value)
    spread = np.subtract(*np.quantile(value, (0.975, 0.025)))
    half = MULTIPLES[:, None] * center.std()
    low, high = scale.backward(center - half), scale.backward(center + half)
    coverage = ((low <= truth) & (truth <= high)).mean(axis=1)
    width = (high - low).mean(axis=1) / spread
    return {
        "coverage_at_width": float(coverage[width <= WIDTH].max(initial=0.0)),
        "width_at_lowest": _smallest(width[coverage >= LOWEST_OF_FEW]),
        "width_at_nominal": _smallest(width[coverage >= CONFIDENCE]),
    }


def _smallest(widths: Float64s) -> float | None:
    return float(widths.min()) if len(widths) else None


def from_data(
    drawn: Float64s, truth: float, scale: ShareScale, corrected: bool, identities: int
) -> dict[str, float]:
    """Return coverage and width of intervals from the variance of each run."""
    value, variance = drawn.T
    low, high = ends(value, variance, scale, corrected, identities)
    spread = np.subtract(*np.quantile(value, (0.975, 0.025)))
    return {
        "coverage": float(((low <= truth) & (truth <= high)).mean()),
        "width": float((high - low).mean() / spread),
    }


def ends(
    value: Float64s, variance: Float64s, scale: ShareScale, corrected: bool, identities: int
) -> tuple[Float64s, Float64s]:
    """Return the ends of intervals from values and their variances."""
    deviation = np.sqrt(variance) * scale.derivative(value)
    center = scale.forward(value)
    if corrected:  # the mean of a function of an unbiased estimate, to second order
        center = center - scale.curvature(value) * deviation**2 / 2
    half = t_quantile((1 + CONFIDENCE) / 2, identities - 1) * deviation
    return scale.backward(center - half), scale.backward(center + half)


def run_cell(scores: str, name: str, runs: int) -> list[dict[str, Any]]:
    """Return a record for each measurable number and scale."""
    cell, truth = Cell(name), score_truth(MODELS[scores])
    records: list[dict[str, Any]] = []
    for keys, drawn in estimates(scores, cell, runs).items():
        if cell.errors(keys, truth) < MEASURABLE:
            continue
        inside = drawn[(drawn[:, 0] > 0) & (drawn[:, 0] < 1)]  # the bounds are infinite on scales
        head = {"scores": scores, "cell": name, "statistic": "@".join(keys), "runs": len(inside)}
        for scale, each in SHARE_SCALES.items():
            plain, corrected = (
                from_data(inside, truth[keys], each, correct, cell.identities)
                for correct in (False, True)
            )
            oracle = trade(inside[:, 0], truth[keys], each)
            records.append(
                head | {"scale": scale, "known": oracle, "plain": plain, "corrected": corrected}
            )
    return records


def markdown(records: list[dict[str, Any]]) -> str:
    """Return the table of the docs."""
    names = [
        f"known: coverage at {WIDTH}",
        f"width at {LOWEST_OF_FEW}",
        f"width at {CONFIDENCE}",
        "from data",
        "corrected",
    ]
    lines = [f"| scores | number | cell | scale | {' | '.join(names)} |", "|" + " --- |" * 9]
    for record in records:
        oracle, each = record["known"], (record["plain"], record["corrected"])
        widths = [oracle["width_at_lowest"], oracle["width_at_nominal"]]
        cells = [record[key] for key in ("scores", "statistic", "cell", "scale")]
        cells[1] = NAMES[cells[1]]
        cells.append(f"{oracle['coverage_at_width']:.3f}")
        cells += ["" if width is None else f"{width:.2f}" for width in widths]
        cells += [f"{one['coverage']:.3f} ({one['width']:.2f})" for one in each]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate the cells and write the records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    records = [record for cell in CELLS for record in run_cell(*cell, given.runs)]
    results = {"version": 1, "machine": machine.describe(1), "records": records}
    if given.results:
        write_text(given.results, json.dumps(results, indent=1) + "\n")
    print(markdown(records))


if __name__ == "__main__":
    main()
