"""Figures of a loss search: its mean in every round, and the loss that it returned."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fairloss.io.atomic import write_text
from fairloss.io.json import read_json_if_exists
from fairloss.io.run_folder import RunFolder
from fairloss.report.drawing import COUNT_COLORS, FAINT, MUTED, WIDTH, inline_svg

# Lines of a search with several numbers; more than this are all gray.
_COLORS = (*COUNT_COLORS, "#CC79A7", "#E69F00", "#56B4E9")


def write_search_figures(folder: Path) -> list[Path]:
    """Write trajectory.svg and loss.svg from a finished search's metrics.jsonl and loss.json.

    Random-Softmax searches no loss: loss.svg is left out.
    """
    rounds = [line for line in RunFolder(folder).metrics() if line.get("event") == "round"]
    figures = {"trajectory": trajectory(rounds)}
    loss = read_json_if_exists(folder / "loss.json", head=dict, provenance=dict)
    if loss is not None and loss["provenance"].get("method") != "random-softmax":
        draw = _am_lfs if loss["head"]["name"] == "AMLFS" else _modulated
        figures["loss"] = draw(loss["head"]["options"])
    for name, svg in figures.items():
        write_text(folder / f"{name}.svg", svg)
    return [folder / f"{name}.svg" for name in figures]


@inline_svg
def trajectory(rounds: list[dict[str, Any]]) -> Figure:
    """Draw mean and points of every round, and the rewards below."""
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    epochs = [line["epoch"] for line in rounds]
    means = np.array([line["mean"] for line in rounds] + [rounds[-1]["new_mean"]])
    for number, mean in enumerate(means.T):
        color = _COLORS[number] if means.shape[1] <= len(_COLORS) else MUTED
        above.plot([*epochs, epochs[-1] + 1], mean, color=color)
        if means.shape[1] == 1:
            _points(above, rounds, [[p[0] for p in line["points"]] for line in rounds])
    above.set(ylabel="mean of the search")
    _points(below, rounds, [line["rewards"] for line in rounds])
    below.plot(epochs, [max(line["rewards"]) for line in rounds], color=COUNT_COLORS[2])
    below.set(xlabel="round", ylabel="reward")
    return figure


def _points(axes: Axes, rounds: list[dict[str, Any]], values: list[list[float]]) -> None:
    """Draw a dot for each member, a darker one for the best."""
    for line, row in zip(rounds, values, strict=True):
        axes.plot([line["epoch"]] * len(row), row, ".", color=FAINT, zorder=1)
        axes.plot(line["epoch"], row[line["best"]], ".", color=MUTED, zorder=2)


@inline_svg
def _modulated(options: dict[str, Any]) -> Figure:
    """Draw p_m over p, with that of some constant a; a shifts the log-odds, which are the axes."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    odds = np.linspace(-7, 16, 461)
    p = _sigmoid(odds)
    for a in (0.0, -1e1, -1e2, -1e3, -1e4):
        axes.plot(p, _sigmoid(odds - np.log1p(-a)), color=FAINT, lw=1)
        axes.annotate(
            f"{a:g}", (_sigmoid(np.log1p(-a)), 0.5), (3, -2),
            textcoords="offset points", color=MUTED, fontsize=7, va="top",
        )  # fmt: skip
    searched = np.atleast_1d(options["a"])
    bins = np.minimum((p * len(searched)).astype(int), len(searched) - 1)
    for number, value in enumerate(searched):
        inside = bins == number
        axes.plot(p[inside], _sigmoid(odds[inside] - np.log1p(-value)), color=COUNT_COLORS[2])
    name = f"a of {len(searched)} bins of p" if len(searched) > 1 else f"a = {searched[0]:.4g}"
    axes.set(
        title=f"searched: {name}; gray: constant a",
        xscale="logit",
        yscale="logit",
        xlim=(1e-3, 1 - 1e-7),
        ylim=(1e-5, 1 - 1e-3),
        xlabel="p, without margin",
        ylabel="p_m, input of the loss",
    )
    for axis, ticks in (
        (axes.xaxis, (0.001, 0.05, 0.5, 0.95, 0.999, 0.99999)),
        (axes.yaxis, (0.0001, 0.01, 0.5, 0.99)),
    ):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    return figure


@inline_svg
def _am_lfs(options: dict[str, Any]) -> Figure:
    """Draw t of the target's cosine and tau of p, with the identity function in gray."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    for axes, name, low, label in zip(
        figure.subplots(1, 2),
        ("t", "tau"),
        (-1, 0),
        ("cos θ to the target", "p, with t"),
        strict=True,
    ):
        rows = options[name]
        edges = np.linspace(low, 1, len(rows) + 1)
        axes.plot([low, 1], [low, 1], color=FAINT, lw=1)
        for (slope, offset), left, right in zip(rows, edges, edges[1:], strict=False):
            values = (slope * left + offset, slope * right + offset)
            axes.plot((left, right), values, color=COUNT_COLORS[2])
        axes.set(xlabel=label, ylabel="t" if name == "t" else "τ")
    return figure


def _sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))
