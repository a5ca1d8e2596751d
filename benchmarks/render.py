"""Writes results into the docs: `python benchmarks/render.py benchmarks/results/NAME.json`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import table
from matplotlib.figure import Figure
from record import Record, Row, read

from fairloss.io.atomic import write_text
from fairloss.report.drawing import FAINT, MUTED, WIDTH, inline_svg

DOCS = Path(__file__).parents[1] / "docs"
TABLE = re.compile(r"(<!-- table -->\n).*?(<!-- /table -->)", re.DOTALL)
OURS, BAR = "#0072B2", 0.19  # color; height of a bar in inches
LONGEST = 12.0  # times the bound: a longer bar is cut, its number says so


def render(results: Path, docs: Path = DOCS) -> list[Path]:
    """Write the table between the markers of docs/benchmarks.md, and docs/images/benchmarks.svg."""
    record = read(results)
    page, image = docs / "benchmarks.md", docs / "images" / "benchmarks.svg"
    text = with_table(page.read_text(encoding="utf-8"), record)
    write_text(page, text)
    write_text(image, picture(record))
    return [page, image]


def with_table(page: str, record: Record) -> str:
    """Return the page with headline and table of `record` between its markers."""
    return between_markers(page, f"{table.headline(record.machine)}\n\n{table.markdown(record)}")


def between_markers(page: str, content: str) -> str:
    """Return the page with `content` between its markers."""
    page, count = TABLE.subn(lambda match: f"{match[1]}{content}{match[2]}", page)
    if count != 1:
        raise ValueError(f"page: expected one pair of <!-- table --> markers, got {count}")
    return page


def picture(record: Record) -> str:
    """Return an SVG with a white background, as a page may be dark."""
    svg = inline_svg(draw)(record).replace('aria-hidden="true" ', 'role="img" ', 1)
    return re.sub(
        r"(<svg [^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', svg, count=1
    )


def bounded(record: Record) -> list[list[Row]]:
    """Return the comparisons that have a bound, except those of thread counts."""
    return [
        rows
        for rows in table.comparisons(record.rows)
        if table.over_bound(rows[0], rows) is not None and not rows[0].op.endswith(table.SCALING)
    ]


def draw(record: Record) -> Figure:
    """Draw bars of time over the bound's, one panel per comparison."""
    comparisons = bounded(record)
    heights = [len(comparison) + 1.6 for comparison in comparisons]  # 1.6 for its title
    figure = Figure(figsize=(1.4 * WIDTH, BAR * (sum(heights) + 5)), layout="constrained")
    figure.suptitle(f"Time over the roofline bound's, on {record.machine['processor']}")
    panels = figure.subplots(
        len(comparisons), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axes, comparison in zip(panels, comparisons, strict=True):
        _draw_comparison(axes, comparison)
    panels[-1].set_xlabel("times the matrix products alone (less is better)")
    return figure


def _draw_comparison(axes, comparison: Sequence[Row]) -> None:  # type: ignore[no-untyped-def]
    shown = sorted(comparison, key=lambda row: row.wall_s)
    factors = [table.over_bound(row, comparison) or 0.0 for row in shown]
    colors = [_color(row) for row in shown]
    names = [row.candidate for row in shown]
    axes.barh(names, [min(factor, LONGEST) for factor in factors], color=colors, height=0.75)
    axes.axvline(1, color=MUTED, linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlim(0, LONGEST * 1.25)
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{comparison[0].op}, {comparison[0].size} ({comparison[0].isa})", loc="left")
    for i, (row, factor) in enumerate(zip(shown, factors, strict=True)):
        label = f"{factor:.1f}  ({table.duration(row.wall_s)})"
        axes.text(max(1, min(factor, LONGEST)) + 0.1, i, label, va="center", fontsize=8)


def _color(row: Row) -> str:
    if row.candidate == "bound":
        return FAINT
    return OURS if row.candidate in ("ours", "recompute", "stored", "bf16") else MUTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="JSON written by `make bench`")
    for path in render(parser.parse_args().results):
        print(path)


if __name__ == "__main__":
    main()
