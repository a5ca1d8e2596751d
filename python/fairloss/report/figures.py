"""The figures. Each takes plain numbers and returns inline SVG; nothing is smoothed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fairloss.agent import ACTIONS, GroupState, Policy
from fairloss.report.drawing import (
    ARM_COLOURS,
    ARM_DASHES,
    COUNT_COLOURS,
    COUNT_WORDS,
    GHOST,
    QUIET,
    VARIANCE_WORDS,
    WIDTH,
    epoch_axis,
    inline_svg,
    spread,
)
from fairloss.report.run_folder import ARM_NAMES, FloatArray

GLYPHS = {"lower": "▼", "keep": "–", "raise": "▲"}  # noqa: RUF001 (the dash is the sign for keep)
MOST_BARS = 100  # more would leave no room between two of them
# Light enough everywhere for dark text on top.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#f7f5fa", "#a997c9"])


@inline_svg
def class_counts(groups: GroupState) -> Figure:
    """Images per class, sorted, in the bins of `groups`."""
    order = np.argsort(-groups.counts, kind="stable")
    heights, bins = groups.counts[order], groups.count_bins[order]
    low, high = groups.count_cuts
    rules = (f"at most {low:g} each", f"{low + 1:g} to {high:g} each", f"over {high:g} each")
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for number in (2, 1, 0):
        ranks = np.flatnonzero(bins == number)
        if not ranks.size:
            continue
        first, end = int(ranks[0]), int(ranks[-1]) + 1
        label = f"{COUNT_WORDS[number]}\n{ranks.size} people,\n{rules[number]}"
        edges, colour = np.arange(first, end + 1), COUNT_COLOURS[number]
        axes.stairs(heights[first:end], edges, fill=True, color=colour, lw=0, label=label)
        if first:
            axes.axvline(first, color=QUIET, ls="--", lw=0.9)
    if len(heights) <= MOST_BARS:
        axes.vlines(np.arange(1, len(heights)), 0, heights[1:], color="white", lw=1)
    axes.set(xlim=(0, len(heights)), ylim=(0, heights[0] * 1.05))
    axes.set(xlabel="people, from most to fewest images", ylabel="training images")
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper right", ncols=3, frameon=False, handlelength=1)
    return figure


def q_spread(policy: Policy) -> FloatArray:
    """(S,) largest minus smallest known Q, NaN where fewer than two actions were tried."""
    known = np.isfinite(policy.q)
    largest = np.where(known, policy.q, -np.inf).max(axis=1)
    smallest = np.where(known, policy.q, np.inf).min(axis=1)
    compared = known.sum(axis=1) > 1
    difference: FloatArray = np.full(len(known), np.nan)
    np.subtract(largest, smallest, out=difference, where=compared)
    return difference


@inline_svg
def policy_table(policy: Policy) -> Figure:
    """Three panels (variance bin) of count bin x margin: action, Q spread and visits."""
    size = len(policy.grid)
    visits = policy.visits.sum(axis=1)
    spreads = q_spread(policy)
    shade = Normalize(0, float(np.nanmax(spreads, initial=0)) or 1.0)
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for variance_bin, axes in enumerate(panels):
        for count_bin in range(3):
            for margin in range(size):
                state = (count_bin * 3 + variance_bin) * size + margin
                axes.add_patch(_cell(margin, count_bin, shade, float(spreads[state])))
                glyph = GLYPHS[ACTIONS[policy.table[state]]]
                axes.text(margin, count_bin + 0.1, glyph, ha="center", va="center", fontsize=13)
                number = f"{visits[state]}"
                axes.text(margin, count_bin - 0.32, number, ha="center", va="center", fontsize=7.5)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(-0.5, 2.5))
        axes.set_title(VARIANCE_WORDS[variance_bin])
        axes.set_xticks(range(size), [f"{value:g}" for value in policy.grid.values])
        axes.set_yticks(range(3), COUNT_WORDS)
        axes.tick_params(length=0, labelsize=8)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    for label, colour in zip(panels[0].get_yticklabels(), COUNT_COLOURS, strict=True):
        label.set_color(colour)
    panels[1].set_xlabel("margin of the class now")
    return figure


def _cell(column: int, row: int, shade: Normalize, spread: float) -> Rectangle:
    """A square of the policy table, hatched where fewer than two actions can be compared."""
    if np.isfinite(spread):
        look: dict[str, Any] = {"facecolor": _SHADES(shade(spread)), "edgecolor": "white"}
    else:
        look = {"facecolor": "white", "edgecolor": GHOST, "hatch": "////"}
    return Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, lw=0, **look)


def roc_corners(far: npt.ArrayLike, tar: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The points where the curve turns; those in between lie on the lines these span."""
    points = np.stack([np.asarray(far, dtype=np.float64), np.asarray(tar, dtype=np.float64)])
    flat = np.diff(points, axis=1) == 0
    # A point is needless if its neighbours lie to its left and right, or below and above it.
    needless = (flat[:, :-1] & flat[:, 1:]).any(axis=0)
    kept: FloatArray = points[:, np.concatenate(([True], ~needless, [True]))]
    return kept[0], kept[1]


@inline_svg
def roc(curves: dict[str, tuple[FloatArray, FloatArray]], impostors: int) -> Figure:
    """TAR against FAR (log) of each arm, from FAR = 1 / impostors, the smallest there is."""
    figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
    axes = figure.subplots()
    for arm, (far, tar) in curves.items():
        axes.plot(
            np.maximum(far, 1e-12),  # the log axis starts right of it
            tar,
            ARM_DASHES[arm],
            drawstyle="steps-post",
            color=ARM_COLOURS[arm],
            label=ARM_NAMES[arm],
        )
    axes.set(xscale="log", xlim=(1 / impostors, 1), ylim=(0, 1.02))
    axes.set(xlabel="false accept rate (log)", ylabel="true accept rate")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="lower right", frameon=False)
    return figure


@inline_svg
def losses(curves: dict[str, tuple[list[int], list[float]]]) -> Figure:
    """Mean training loss of every epoch, one line per arm with its name at the end."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    top = max(loss for _, values in curves.values() for loss in values)
    longest = max(epochs[-1] for epochs, _ in curves.values())
    heights = spread([values[-1] for _, values in curves.values()], gap=top * 0.08)
    for (arm, (epochs, values)), height in zip(curves.items(), heights, strict=True):
        colour = ARM_COLOURS[arm]
        axes.plot(epochs, values, ARM_DASHES[arm], color=colour, marker="o", ms=2.5)
        axes.annotate(
            ARM_NAMES.get(arm, f"{values[-1]:.2f}"), (epochs[-1], height), (6, 0),
            textcoords="offset points", va="center", color=colour,
        )  # fmt: skip
    axes.set(ylim=(0, top * 1.08), xlabel="epoch", ylabel="mean training loss")
    epoch_axis(axes, longest, room=0.2)
    return figure
