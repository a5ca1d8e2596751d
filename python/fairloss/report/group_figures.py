"""The nine groups over the epochs, one panel each: rows are count bins, columns variance bins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fairloss.report.drawing import (
    COUNT_COLOURS,
    COUNT_WORDS,
    GHOST,
    QUIET,
    VARIANCE_WORDS,
    WIDTH,
    inline_svg,
    spread,
)
from fairloss.report.run_folder import FloatArray


def _nine_panels(epochs: int) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Rows: count bins from many to few images; columns: variance bins."""
    figure = Figure(figsize=(WIDTH, 5.4))
    panels: npt.NDArray[np.object_] = figure.subplots(3, 3, sharex=True, sharey=True)
    for axes, word in zip(panels[0], VARIANCE_WORDS, strict=True):
        axes.set_title(word, color=QUIET)
    for row, count_bin in enumerate((2, 1, 0)):
        panels[row, 0].set_ylabel(COUNT_WORDS[count_bin], color=COUNT_COLOURS[count_bin])
    for axes in panels[2]:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set_xlim(0, epochs * 1.3)  # room for the label at the end of a line
    panels[2, 1].set_xlabel("epoch")
    return figure, panels


def _panel(panels: npt.NDArray[np.object_], group: int) -> Axes:
    axes: Axes = panels[2 - group // 3, group % 3]
    return axes


@inline_svg
def margins(series: FloatArray, grid: tuple[float, ...] | None) -> Figure:
    """Mean margin of the nine groups, (9, E); `grid` marks the margins a class can have."""
    edges = np.arange(series.shape[1] + 1)
    figure, panels = _nine_panels(series.shape[1])
    for group, values in enumerate(series):
        axes = _panel(panels, group)
        for other in series:
            axes.stairs(other, edges, baseline=None, color=GHOST, lw=1)
        axes.stairs(values, edges, baseline=None, color=COUNT_COLOURS[group // 3], lw=2)
        _end_labels(axes, [values], "{:.2f}", COUNT_COLOURS[group // 3], gap=0)
    if grid is not None:
        step = (grid[-1] - grid[0]) / 8 or 0.05
        panels[0, 0].set_yticks(grid)
        panels[0, 0].set_ylim(grid[0] - step, grid[-1] + step)
    return figure


@inline_svg
def angles(intra: FloatArray, inter: FloatArray) -> Figure:
    """Mean angles of the nine groups, (9, E) each, given in radians and drawn in degrees."""
    figure, panels = _nine_panels(intra.shape[1])
    epochs = np.arange(1, intra.shape[1] + 1)
    for group, pair in enumerate(zip(np.degrees(intra), np.degrees(inter), strict=True)):
        axes, colour = _panel(panels, group), COUNT_COLOURS[group // 3]
        for values, dash in zip(pair, ("-", "--"), strict=True):
            axes.plot(epochs, values, dash, color=colour, marker="o", ms=2.2)
        _end_labels(axes, list(pair), "{:.0f}°", colour, gap=9)
    first = panels[0, 0]
    for values, word in ((intra[6], "intra"), (inter[6], "inter")):
        if np.isfinite(values).any():
            known = int(np.flatnonzero(np.isfinite(values))[0])
            at = (epochs[known], np.degrees(values[known]))
            first.annotate(word, at, (0, 5), textcoords="offset points", color=QUIET)
    panels[0, 0].set_ylim(0, max(90.0, float(np.nanmax(np.degrees([intra, inter]), initial=0))))
    panels[0, 0].set_yticks(range(0, 91, 30), [f"{angle}°" for angle in range(0, 91, 30)])
    return figure


def _end_labels(axes: Axes, lines: list[FloatArray], style: str, colour: str, gap: float) -> None:
    """The last value of each line at its end, at least `gap` apart; "empty" if there is none."""
    known = [values[np.isfinite(values)] for values in lines]
    if not known[0].size:
        axes.text(0.5, 0.5, "empty", transform=axes.transAxes, ha="center", color=QUIET)
        return
    last = [float(values[-1]) for values in known if values.size]
    end = len(lines[0])
    for value, height in zip(last, spread(last, gap), strict=True):
        axes.annotate(
            style.format(value), (end, height), (4, 0), textcoords="offset points",
            va="center", color=colour, fontsize=8.5,
        )  # fmt: skip
