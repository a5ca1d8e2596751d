"""The networks of both arms of a demo: a dot for each seed, and the verdict."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fairloss.report.drawing import ARM_COLORS, FAINT, WIDTH, inline_svg
from fairloss.report.run_view import ARM_NAMES, Run
from fairloss.report.verdict import verdict_lines
from fairloss.typing import Float64s

ARMS = ("fixed", "fair")


def section(run: Run) -> dict[str, Any] | None:
    """Return the figure, the verdict, the choice of the margin, and a row for each number."""
    if run.demo is None or run.evaluation is None or "across_seeds" not in run.evaluation:
        return None
    seeds, arms = run.evaluation["seeds"], run.evaluation["arms"]
    aucs = _numbers(arms, "auc")
    assert isinstance(aucs, np.ndarray)  # both arms were evaluated on genuine and impostor pairs
    metrics = {"AUC": aucs, "EER": _numbers(arms, "eer")}
    for far in arms["fixed"][0]["tar"]:
        metrics[f"TAR at FAR {far}"] = _numbers(arms, "tar", far)
    metrics["Accuracy over folds"] = _numbers(arms, "accuracy")
    rows = [
        (metric, arm, seed, value)
        for metric, table in metrics.items()
        if isinstance(table, np.ndarray)
        for arm, values in zip(ARMS, table.tolist(), strict=True)
        for seed, value in zip(seeds, values, strict=True)
    ]
    tuning = run.demo["tuning"]
    return {
        "svg": dots(aucs),
        "lines": verdict_lines(run.demo, run.evaluation),
        "summaries": {name: _summarize(table) for name, table in metrics.items()},
        "seeds": len(seeds),
        "margin": tuning["margin"],
        "tuning": {margin: float(np.mean(aucs)) for margin, aucs in tuning["auc"].items()},
        "folds": len(next(iter(tuning["auc"].values()))),
        "csv": "Networks of all seeds",
        "rows": [("metric", "arm", "seed", "value"), *rows],
    }


def _numbers(arms: dict[str, Any], *keys: str) -> Float64s | str:
    """Return the (2, S) values of a metric, or the reason why a network has none."""
    table = []
    for arm in ARMS:
        for report in arms[arm]:
            entry = report
            for key in keys:
                entry = entry[key]
            if isinstance(entry, str):
                return entry
            table.append(entry["value"])
    return np.array(table, dtype=np.float64).reshape(len(ARMS), -1)


def _summarize(table: Float64s | str) -> list[tuple[float, float]] | str:
    """Return mean and deviation over seeds of each arm and of the difference."""
    if isinstance(table, str):
        return table
    rows = [*table, table[1] - table[0]]
    return [(float(row.mean()), float(row.std(ddof=1))) for row in rows]


@inline_svg
def dots(aucs: Float64s) -> Figure:
    """Draw the AUC of each network, those of a seed joined by a line, and the mean of each arm."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], aucs, color=FAINT, lw=1)
    for column, (arm, values) in enumerate(zip(ARMS, aucs, strict=True)):
        axes.plot(np.full(len(values), column), values, "o", color=ARM_COLORS[arm], ms=5)
        side = column + (0.08 if column else -0.08)
        axes.plot(side, values.mean(), "_", color=ARM_COLORS[arm], ms=14, mew=2)
    axes.set(xlim=(-0.5, 1.5), ylabel="AUC on unseen identities")
    axes.set_xticks([0, 1], [ARM_NAMES[arm] for arm in ARMS])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="x", visible=False)
    return figure
