"""The nine groups over the epochs, one panel each: rows are count bins, columns variance bins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fairloss.report.drawing import (
    COUNT_COLOURS,
    COUNT_WORDS,
    QUIET,
    VARIANCE_WORDS,
    WIDTH,
    epoch_axis,
    inline_svg,
    spread,
)
from fairloss.report.run_folder import FloatArray

ANGLES = ("intra: to the own centre", "inter: to the nearest other centre")
DASHES = ("-", "--")


def _nine_panels(epochs: int, top: float) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Rows: count bins from many to few images; columns: variance bins."""
    figure = Figure(figsize=(WIDTH, 5.4))
    # By hand, as the constrained layout takes as long for nine panels as to draw them.
    figure.subplots_adjust(0.13, 0.09, 0.99, top, wspace=0.08, hspace=0.14)
    panels: npt.NDArray[np.object_] = figure.subplots(3, 3, sharex=True, sharey=True)
    for axes, word in zip(panels[0], VARIANCE_WORDS, strict=True):
        axes.set_title(word)
    for row, count_bin in enumerate((2, 1, 0)):
        panels[row, 0].set_ylabel(COUNT_WORDS[count_bin], color=COUNT_COLOURS[count_bin])
    for axes in panels.flat:
        epoch_axis(axes, epochs, room=0.24)
    panels[2, 1].set_xlabel("epoch")
    return figure, panels


def _panel(panels: npt.NDArray[np.object_], group: int) -> Axes:
    axes: Axes = panels[2 - group // 3, group % 3]
    return axes


@inline_svg
def margins(series: FloatArray, grid: tuple[float, ...] | None) -> Figure:
    """Mean margin of the nine groups, (9, E); `grid` is what a class can have, if known."""
    edges = np.arange(series.shape[1] + 1)  # the margin holds during the whole epoch
    figure, panels = _nine_panels(series.shape[1], top=0.95)
    for group, values in enumerate(series):
        axes = _panel(panels, group)
        axes.stairs(values, edges, baseline=None, color=COUNT_COLOURS[group // 3], lw=2)
        _end_labels(axes, [values], "{:.2f}", COUNT_COLOURS[group // 3], gap=0)
    known = series[np.isfinite(series)]
    marks = grid or ((float(known.min()), float(known.max())) if known.size else (0.0,))
    room = (marks[-1] - marks[0]) / 8 or 0.05
    panels[0, 0].set(yticks=marks, ylim=(marks[0] - room, marks[-1] + room))
    panels[0, 0].yaxis.set_major_formatter("{x:.2f}")
    return figure


@inline_svg
def angles(intra: FloatArray, inter: FloatArray) -> Figure:
    """Mean angles of the nine groups, (9, E) each, given in radians and drawn in degrees."""
    figure, panels = _nine_panels(intra.shape[1], top=0.9)
    epochs = np.arange(1, intra.shape[1] + 1)
    for group, pair in enumerate(zip(np.degrees(intra), np.degrees(inter), strict=True)):
        axes, colour = _panel(panels, group), COUNT_COLOURS[group // 3]
        for values, dash in zip(pair, DASHES, strict=True):
            axes.plot(epochs, values, dash, color=colour, marker="o", ms=2.2)
        _end_labels(axes, list(pair), "{:.0f}°", colour, gap=10)
    top = max(90.0, float(np.nanmax(np.degrees([intra, inter]), initial=0)))
    panels[0, 0].set(ylim=(0, top), yticks=range(0, int(top) + 1, 30))
    panels[0, 0].yaxis.set_major_formatter("{x:g}°")
    handles = [Line2D([], [], ls=dash, color=QUIET) for dash in DASHES]
    figure.legend(handles, ANGLES, loc="upper right", ncols=2, frameon=False)
    return figure


def _end_labels(axes: Axes, lines: list[FloatArray], style: str, colour: str, gap: float) -> None:
    """The last value of each line where it ends, at least `gap` apart; "empty" without any."""
    known = [values for values in lines if np.isfinite(values).any()]
    if not known:
        axes.text(0.5, 0.5, "empty", transform=axes.transAxes, ha="center", color=QUIET)
        return
    ends = [int(np.flatnonzero(np.isfinite(values))[-1]) for values in known]
    last = [float(values[end]) for values, end in zip(known, ends, strict=True)]
    for end, value, height in zip(ends, last, spread(last, gap), strict=True):
        axes.annotate(
            style.format(value), (end + 1, height), (4, 0), textcoords="offset points",
            va="center", color=colour, fontsize=8.5,
        )  # fmt: skip
