"""Draw recall against time: `python benchmarks/draw_gallery.py RESULTS.json FIGURE.svg`.

RESULTS is a file written by benchmarks/gallery_indices.py.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from fairloss.io.atomic import write_text
from fairloss.report.drawing import MUTED, WIDTH, inline_svg, label_log_axis

COLORS = {
    "IVF-Flat": "#0072B2",
    "IVF-SQ8": "#56B4E9",
    "HNSW": "#D55E00",
    "IVF-PQ": "#E69F00",
    "IVF-PQ, refined": "#009E73",
}
TICKS = (0.2, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999)


@inline_svg
def draw(record: dict[str, Any]) -> Figure:
    """Draw one panel for each batch size."""
    batches = sorted({row["batch"] for row in record["rows"]})
    figure = Figure(figsize=(WIDTH, 2.4 * len(batches)), layout="constrained")
    panels = figure.subplots(len(batches), sharex=True, squeeze=False)[:, 0]
    for axes, batch in zip(panels, batches, strict=True):
        _draw_batch(axes, [row for row in record["rows"] if row["batch"] == batch])
        axes.set_title(f"{batch} at a time" if batch > 1 else "one query at a time", loc="left")
        axes.set_ylabel("Flat's time over it")
    panels[-1].set_xlabel("recall@1")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _draw_batch(axes: Axes, rows: list[dict[str, Any]]) -> None:
    for name, color in COLORS.items():
        points = [(_missed(r), r["flat_over_it"]) for r in rows if r["index"] == name]
        axes.plot(*zip(*_frontier(points), strict=True), "o-", color=color, label=name, ms=3.5)
    axes.axhline(1, color=MUTED, linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xscale("log")
    label_log_axis(axes.yaxis)
    axes.set_xlim(0.9, 4e-4)  # from most of the queries to one in 2,500 missed
    axes.xaxis.set_major_locator(FixedLocator([1 - tick for tick in TICKS]))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(lambda missed, _: f"{1 - missed:.3g}")


def _missed(row: dict[str, Any]) -> float:
    return max(1 - row["recall_at_1"], 5e-4)  # none missed is drawn at the right end


def _frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other point beats in both coordinates."""
    best = [p for p in points if not any(q[0] <= p[0] and q[1] > p[1] for q in points)]
    return sorted(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("figure", type=Path)
    given = parser.parse_args()
    svg = draw(json.loads(given.results.read_text(encoding="utf-8")))
    svg = svg.replace('aria-hidden="true" ', 'role="img" ', 1)
    white = r'\1<rect width="100%" height="100%" fill="white"/>'  # a page may be dark
    write_text(given.figure, re.sub(r"(<svg [^>]*>)", white, svg, count=1))


if __name__ == "__main__":
    main()
