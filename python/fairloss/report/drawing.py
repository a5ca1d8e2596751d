"""How every figure looks, and how it becomes inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import ParamSpec

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe & Ito's colour-blind safe palette. A group keeps the colour of its count bin everywhere;
# the variance bin is told by place. The arms have colours of their own.
COUNT_COLOURS = ("#D55E00", "#009E73", "#0072B2")
ARM_COLOURS = {"pretrain": "#E69F00", "fair": "#CC79A7", "fixed": "#000000", "run": "#0072B2"}
ARM_DASHES = {"pretrain": ":", "fair": "-", "fixed": "--", "run": "-"}
COUNT_WORDS = ("few images", "some images", "many images")
VARIANCE_WORDS = ("low variance", "medium variance", "high variance")

INK, QUIET, GHOST = "#26262b", "#6b6b74", "#dcdce0"
WIDTH = 5.4  # inches: narrow, so that a telephone shows 9.5 points as no less than 6

STYLE = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececef",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
# The RDF block would hold the date and outside addresses.
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_ELEMENT_ID = re.compile(r' id="[a-zA-Z0-9.]+_\d+"')  # figure_1, patch_2: nothing refers to them

Arguments = ParamSpec("Arguments")


def inline_svg(draw: Callable[Arguments, Figure]) -> Callable[Arguments, str]:
    """Make a function that draws a figure return it as an SVG element, the same every time.

    Text stays text, so the page's fonts and the reader's search apply. The user's own matplotlib
    settings do not.
    """

    @wraps(draw)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str:
        # A salt per figure keeps the ids that do matter apart on a page with several figures.
        own = STYLE | {"svg.hashsalt": draw.__name__}
        with matplotlib.style.context(["default", own], after_reset=True):
            text = io.StringIO()
            draw(*args, **kwargs).savefig(text, format="svg", metadata=_NO_METADATA)
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :].replace("xlink:href", "href")
        svg = re.sub(r' xmlns:xlink="[^"]*"', "", svg)
        return _ELEMENT_ID.sub("", svg).replace("<svg ", '<svg aria-hidden="true" ', 1)

    return wrapped


def picture_kind(output: Path) -> str:
    """svg, png or pdf; ValueError for another suffix."""
    kind = output.suffix.removeprefix(".")
    if kind not in ("svg", "png", "pdf"):
        raise ValueError(f"output: got {output}, expected a name that ends in .svg, .png or .pdf")
    return kind


def epoch_axis(axes: Axes, epochs: int, room: float) -> None:
    """Ticks up to the last epoch, then a share `room` of the axis for the labels of the lines."""
    ticks = MaxNLocator(nbins=4, integer=True).tick_values(0, epochs)
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= epochs])
    axes.set_xlim(0, max(epochs, 1) / (1 - room))
    axes.spines.bottom.set_bounds(0, max(epochs, 1))


def spread(positions: list[float], gap: float) -> list[float]:
    """The same positions moved up where needed, so that labels there are `gap` apart."""
    moved = list(positions)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved
