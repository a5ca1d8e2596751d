"""Margins and angles of the nine groups over the epochs, one panel for each group."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fairloss.report.drawing import (
    COUNT_COLORS,
    COUNT_WORDS,
    MUTED,
    VARIANCE_WORDS,
    WIDTH,
    epoch_axis,
    inline_svg,
    spread,
)
from fairloss.report.run_view import Run
from fairloss.typing import Float64s

ANGLES = ("intra: to the class's center", "inter: to the nearest other center")
DASHES = ("-", "--")


def section(run: Run) -> dict[str, Any] | None:
    """Return the figures of margins and angles, and a row for each group of each epoch.

    None without statistics in any epoch.
    """
    training = run.main
    if training is None or not training.epochs:
        return None
    if np.isnan(training.group_series("classes")).all():
        return None
    grid = None if run.policy is None else tuple(run.policy.grid.values)
    keys = ("count_bin", "variance_bin", "classes", "margin", "intra_angle", "inter_angle")
    rows = [
        (line["epoch"], *(group[key] for key in keys))
        for line in training.epochs
        for group in line["groups"]
    ]
    intra, inter = training.group_series("intra_angle"), training.group_series("inter_angle")
    return {
        "margins": margins(training.group_series("margin"), grid),
        "angles": angles(intra, inter),
        "csv": "Margins and angles (radians)",
        "rows": [("epoch", *keys), *rows],
    }


def _nine_panels(epochs: int, top: float) -> tuple[Figure, list[Axes]]:
    """Return a panel for each group: rows are count bins from many to few images."""
    figure = Figure(figsize=(WIDTH, 5.4))
    # By hand, as the constrained layout takes as long for nine panels as to draw them.
    figure.subplots_adjust(0.13, 0.09, 0.99, top, wspace=0.08, hspace=0.14)
    panels = figure.subplots(3, 3, sharex=True, sharey=True)
    for axes, word in zip(panels[0], VARIANCE_WORDS, strict=True):
        axes.set_title(word)
    for row, count_bin in enumerate((2, 1, 0)):
        panels[row, 0].set_ylabel(COUNT_WORDS[count_bin], color=COUNT_COLORS[count_bin])
    for axes in panels.flat:
        epoch_axis(axes, epochs, label_share=0.24)
    panels[2, 1].set_xlabel("epoch")
    return figure, [*panels[2], *panels[1], *panels[0]]


@inline_svg
def margins(series: Float64s, grid: tuple[float, ...] | None) -> Figure:
    """Draw the mean margin of the nine groups, (9, E); `grid` is the policy's, if known."""
    edges = np.arange(series.shape[1] + 1)  # the margin holds during the whole epoch
    figure, panels = _nine_panels(series.shape[1], top=0.95)
    for group, (axes, values) in enumerate(zip(panels, series, strict=True)):
        axes.stairs(values, edges, baseline=None, color=COUNT_COLORS[group // 3], lw=2)
        _end_labels(axes, [values], "{:.2f}", COUNT_COLORS[group // 3], gap=0)
    finite = series[np.isfinite(series)]
    ticks = grid or ((float(finite.min()), float(finite.max())) if finite.size else (0.0,))
    padding = (ticks[-1] - ticks[0]) / 8 or 0.05
    panels[0].set(yticks=ticks, ylim=(ticks[0] - padding, ticks[-1] + padding))
    panels[0].yaxis.set_major_formatter("{x:.2f}")
    return figure


@inline_svg
def angles(intra: Float64s, inter: Float64s) -> Figure:
    """Draw the mean angles of the nine groups, (9, E) each, in radians, as degrees."""
    figure, panels = _nine_panels(intra.shape[1], top=0.9)
    epochs = np.arange(1, intra.shape[1] + 1)
    for group, (axes, *pair) in enumerate(
        zip(panels, np.degrees(intra), np.degrees(inter), strict=True)
    ):
        for values, dash in zip(pair, DASHES, strict=True):
            axes.plot(epochs, values, dash, color=COUNT_COLORS[group // 3], marker="o", ms=2.2)
        _end_labels(axes, pair, "{:.0f}°", COUNT_COLORS[group // 3], gap=10)
    top = max(90.0, float(np.nanmax(np.degrees([intra, inter]), initial=0)))
    panels[0].set(ylim=(0, top), yticks=range(0, int(top) + 1, 30))
    panels[0].yaxis.set_major_formatter("{x:g}°")
    handles = [Line2D([], [], ls=dash, color=MUTED) for dash in DASHES]
    figure.legend(handles, ANGLES, loc="upper right", ncols=2, frameon=False)
    return figure


def _end_labels(axes: Axes, lines: list[Float64s], style: str, color: str, gap: float) -> None:
    """Write the last value of each line at its end, at least `gap` apart; "empty" without any."""
    drawn = [values for values in lines if np.isfinite(values).any()]
    if not drawn:
        axes.text(0.5, 0.5, "empty", transform=axes.transAxes, ha="center", color=MUTED)
        return
    ends = [int(np.flatnonzero(np.isfinite(values))[-1]) for values in drawn]
    last = [float(values[end]) for values, end in zip(drawn, ends, strict=True)]
    for end, value, height in zip(ends, last, spread(last, gap), strict=True):
        axes.annotate(
            style.format(value), (end + 1, height), (4, 0), textcoords="offset points",
            va="center", color=color, fontsize=8.5,
        )  # fmt: skip
