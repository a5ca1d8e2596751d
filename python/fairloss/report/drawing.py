"""The style of every figure, and inline SVG."""

import io
import re
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import ParamSpec

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from fairloss.checks import expect

# The color-blind safe palette of Okabe & Ito. A group has the color of its count bin in every
# figure, and its variance bin is the column. The arms have other colors.
COUNT_COLORS = ("#D55E00", "#009E73", "#0072B2")
ARM_COLORS = {"pretrain": "#E69F00", "fair": "#CC79A7", "fixed": "#000000", "run": "#0072B2"}
ARM_DASHES = {"pretrain": ":", "fair": "-", "fixed": "--", "run": "-"}
COUNT_WORDS = ("few images", "some images", "many images")
VARIANCE_WORDS = ("low variance", "medium variance", "high variance")

TEXT, MUTED, FAINT = "#26262b", "#6b6b74", "#dcdce0"
WIDTH = 5.4  # inches: narrow, so that a phone shows 9.5 points as no less than 6

STYLE = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": TEXT,
    "axes.titlecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececef",
    "grid.linewidth": 0.7,
    "text.color": TEXT,
    "text.parse_math": False,  # a name may have two $
    "xtick.color": MUTED,
    "ytick.color": MUTED,
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
    """Decorate a function that draws a figure so that it returns a reproducible SVG element.

    Text stays text, so the page's fonts and the browser's search apply; the user's matplotlib
    settings do not.
    """

    @wraps(draw)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> str:
        # A salt per figure makes the ids that are referred to differ between figures of a page.
        style = STYLE | {"svg.hashsalt": draw.__name__}
        with matplotlib.style.context(["default", style], after_reset=True):
            text = io.StringIO()
            draw(*args, **kwargs).savefig(text, format="svg", metadata=_NO_METADATA)
        svg = text.getvalue()
        svg = svg[svg.index("<svg") :].replace("xlink:href", "href")
        svg = re.sub(r' xmlns:xlink="[^"]*"', "", svg)
        return _ELEMENT_ID.sub("", svg).replace("<svg ", '<svg aria-hidden="true" ', 1)

    return wrapped


def picture_kind(output: Path) -> str:
    """Return svg, png or pdf; ValueError for another suffix."""
    kind = output.suffix.removeprefix(".")
    expect(kind in ("svg", "png", "pdf"), "output", "a name ending in .svg, .png or .pdf", output)
    return kind


def epoch_axis(axes: Axes, epochs: int, label_share: float) -> None:
    """Set ticks up to the last epoch, and reserve a share of the axis for labels of lines."""
    ticks = MaxNLocator(nbins=4, integer=True).tick_values(0, epochs)
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= epochs])
    axes.set_xlim(0, max(epochs, 1) / (1 - label_share))
    axes.spines.bottom.set_bounds(0, max(epochs, 1))


def label_log_axis(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis in plain text, as matplotlib's default is a formula."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(LogFormatter())


def spread(positions: list[float], gap: float) -> list[float]:
    """Return the positions, raised where labels would be less than `gap` apart."""
    heights = list(positions)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    for below, above in pairwise(order):
        heights[above] = max(heights[above], heights[below] + gap)
    return heights
