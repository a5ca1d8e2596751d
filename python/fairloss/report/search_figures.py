"""Figures of a loss search: how its mean moved, and the loss it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fairloss.io.atomic import write_atomic
from fairloss.io.json import read_json
from fairloss.io.run_folder import RunFolder
from fairloss.report.drawing import COUNT_COLOURS, GHOST, QUIET, WIDTH, inline_svg

# Lines of a search with several numbers; more than this are one grey bundle.
_COLOURS = (*COUNT_COLOURS, "#CC79A7", "#E69F00", "#56B4E9")


def write_search_figures(folder: Path) -> list[Path]:
    """trajectory.svg and loss.svg from a finished search's metrics.jsonl and loss.json."""
    rounds = [line for line in RunFolder(folder).metrics() if line["event"] == "round"]
    head = read_json(folder / "loss.json")["head"]
    draw = _am_lfs if head["name"] == "AMLFS" else _modulated
    paths = []
    for name, svg in (("trajectory", trajectory(rounds)), ("loss", draw(head["options"]))):
        paths.append(folder / f"{name}.svg")
        write_atomic(paths[-1], lambda path, svg=svg: path.write_text(svg))  # type: ignore[misc]
    return paths


@inline_svg
def trajectory(rounds: list[dict[str, Any]]) -> Figure:
    """Mean and points of every round, and the rewards below."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    epochs = [line["epoch"] for line in rounds]
    means = np.array([line["mean"] for line in rounds] + [rounds[-1]["new_mean"]])
    for number, mean in enumerate(means.T):
        colour = _COLOURS[number] if means.shape[1] <= len(_COLOURS) else QUIET
        above.plot([*epochs, epochs[-1] + 1], mean, color=colour)
        if means.shape[1] == 1:
            _points(above, rounds, [[p[0] for p in line["points"]] for line in rounds])
    above.set(ylabel="mean of the search")
    _points(below, rounds, [line["rewards"] for line in rounds])
    below.plot(epochs, [max(line["rewards"]) for line in rounds], color=COUNT_COLOURS[2])
    below.set(xlabel="round", ylabel="reward")
    return figure


def _points(axes: Axes, rounds: list[dict[str, Any]], values: list[list[float]]) -> None:
    """One dot a member; the best has a darker one."""
    for line, row in zip(rounds, values, strict=True):
        axes.plot([line["epoch"]] * len(row), row, ".", color=GHOST, zorder=1)
        axes.plot(line["epoch"], row[line["best"]], ".", color=QUIET, zorder=2)


@inline_svg
def _modulated(options: dict[str, Any]) -> Figure:
    """p_m of p, beside that of some constant a; by their log-odds, as what an a does is a shift."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    odds = np.linspace(-7, 16, 461)
    p = _sigmoid(odds)
    for a in (0.0, -1e1, -1e2, -1e3, -1e4):
        axes.plot(p, _sigmoid(odds - np.log1p(-a)), color=GHOST, lw=1)
        axes.annotate(
            f"{a:g}", (_sigmoid(np.log1p(-a)), 0.5), (3, -2),
            textcoords="offset points", color=QUIET, fontsize=7, va="top",
        )  # fmt: skip
    own = np.atleast_1d(options["a"])
    bins = np.minimum((p * len(own)).astype(int), len(own) - 1)
    for number, value in enumerate(own):
        inside = bins == number
        axes.plot(p[inside], _sigmoid(odds[inside] - np.log1p(-value)), color=COUNT_COLOURS[2])
    name = f"a = {own[0]:.4g}" if len(own) == 1 else f"a of {len(own)} bins of p"
    axes.set_title(f"searched: {name}; grey: constant a")
    axes.set(xscale="logit", yscale="logit", xlim=(1e-3, 1 - 1e-7), ylim=(1e-5, 1 - 1e-3))
    axes.set(xlabel="p, without margin", ylabel="$p_m$, what the loss sees")
    for axis, ticks in (
        (axes.xaxis, (0.001, 0.05, 0.5, 0.95, 0.999, 0.99999)),
        (axes.yaxis, (0.0001, 0.01, 0.5, 0.99)),
    ):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    return figure


@inline_svg
def _am_lfs(options: dict[str, Any]) -> Figure:
    """T of the target's cosine and tau of p, with the identity in grey."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    for axes, name, low, label in zip(
        figure.subplots(1, 2),
        ("t", "tau"),
        (-1, 0),
        (r"$\cos\,\theta$ to the own class", "p, with t"),
        strict=True,
    ):
        rows = options[name]
        edges = np.linspace(low, 1, len(rows) + 1)
        axes.plot([low, 1], [low, 1], color=GHOST, lw=1)
        for (slope, offset), left, right in zip(rows, edges, edges[1:], strict=False):
            ends = np.array([left, right])
            axes.plot(ends, slope * ends + offset, color=COUNT_COLOURS[2])
        axes.set(xlabel=label, ylabel="t" if name == "t" else r"$\tau$")
    return figure


def _sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))
