"""Images per class, in the count bins of Fair Loss."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fairloss.agent import GroupState
from fairloss.report.drawing import COUNT_COLORS, COUNT_WORDS, MUTED, WIDTH, inline_svg
from fairloss.report.run_view import Run

MAX_SEPARATED_BARS = 100  # more bars are drawn without white lines between them


def section(run: Run) -> dict[str, Any] | None:
    """Return the figure and the number of images of each class, sorted."""
    if run.main is None or run.main.counts is None:
        return None
    groups = GroupState(run.main.counts, count_cuts=run.main.count_cuts)
    order = np.argsort(-groups.counts, kind="stable")
    rows = [
        (rank, groups.counts[index], COUNT_WORDS[groups.count_bins[index]])
        for rank, index in enumerate(order, start=1)
    ]
    head = ("rank", "images", "bin")
    return {"svg": class_counts(groups), "csv": "Image counts", "rows": [head, *rows]}


@inline_svg
def class_counts(groups: GroupState) -> Figure:
    """Draw the images per class, sorted, in the bins of `groups`."""
    order = np.argsort(-groups.counts, kind="stable")
    heights, bins = groups.counts[order], groups.count_bins[order]
    low, high = map(math.floor, groups.count_cuts)
    ranges = (f"at most {low} each", f"{low + 1} to {high} each", f"over {high} each")
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    for number in (2, 1, 0):
        ranks = np.flatnonzero(bins == number)
        if not ranks.size:
            continue
        first, end = int(ranks[0]), int(ranks[-1]) + 1
        label = f"{COUNT_WORDS[number]}\n{ranks.size} identities,\n{ranges[number]}"
        edges, color = np.arange(first, end + 1), COUNT_COLORS[number]
        axes.stairs(heights[first:end], edges, fill=True, color=color, lw=0, label=label)
        if first:
            axes.axvline(first, color=MUTED, ls="--", lw=0.9)
    if len(heights) <= MAX_SEPARATED_BARS:
        axes.vlines(np.arange(1, len(heights)), 0, heights[1:], color="white", lw=1)
    axes.set(
        xlim=(0, len(heights)),
        ylim=(0, heights[0] * 1.05),
        xlabel="identities, from most to fewest images",
        ylabel="training images",
    )
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper right", ncols=3, frameon=False, handlelength=1)
    return figure
