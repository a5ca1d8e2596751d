"""Put results into the docs: `python benchmarks/render.py benchmarks/results/NAME.json`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import table
from matplotlib.figure import Figure
from record import Record, Row, read, write_whole

from fairloss.report.drawing import FAINT, MUTED, WIDTH, inline_svg

DOCS = Path(__file__).parents[1] / "docs"
TABLE = re.compile(r"(<!-- table -->\n).*?(<!-- /table -->)", re.DOTALL)
OURS, BAR = "#0072B2", 0.19  # colour; inches a bar takes in height
LONGEST = 12.0  # times the floor: a longer bar is cut, its number says so


def render(results: Path, docs: Path = DOCS) -> list[Path]:
    """Write the table between the markers of docs/benchmarks.md, and docs/images/benchmarks.svg."""
    record = read(results)
    page, image = docs / "benchmarks.md", docs / "images" / "benchmarks.svg"
    text = with_table(page.read_text(encoding="utf-8"), record)
    write_whole(page, text)
    write_whole(image, picture(record))
    return [page, image]


def with_table(page: str, record: Record) -> str:
    """The page with headline and table of `record` in place of what its markers enclose."""
    return between_markers(page, f"{table.headline(record.machine)}\n\n{table.markdown(record)}")


def between_markers(page: str, content: str) -> str:
    """The page with `content` in place of what its markers enclose."""
    page, found = TABLE.subn(lambda match: f"{match[1]}{content}{match[2]}", page)
    if found != 1:
        raise ValueError(f"expected one pair of <!-- table --> markers in the page, got {found}")
    return page


def picture(record: Record) -> str:
    """An SVG of its own: white below, as a page may be dark."""
    svg = inline_svg(draw)(record).replace('aria-hidden="true" ', 'role="img" ', 1)
    return re.sub(
        r"(<svg [^>]*>)", r'\1<rect width="100%" height="100%" fill="white"/>', svg, count=1
    )


def drawn(record: Record) -> list[list[Row]]:
    """The races that have a floor, but for those about threads."""
    return [
        race
        for race in table.races(record.rows)
        if table.over_floor(race[0], race) is not None and not race[0].op.endswith(table.SCALING)
    ]


def draw(record: Record) -> Figure:
    """Bars of time over the floor's, one panel a race."""
    races = drawn(record)
    heights = [len(race) + 1.6 for race in races]  # its title takes the rest
    figure = Figure(figsize=(1.4 * WIDTH, BAR * (sum(heights) + 5)), layout="constrained")
    figure.suptitle(f"Time over the floor's, on {record.machine['processor']}")
    panels = figure.subplots(
        len(races), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axes, race in zip(panels, races, strict=True):
        _draw_race(axes, race)
    panels[-1].set_xlabel("times the matrix products alone (less is better)")
    return figure


def _draw_race(axes, race: Sequence[Row]) -> None:  # type: ignore[no-untyped-def]
    shown = sorted(race, key=lambda row: row.wall_s)
    factors = [table.over_floor(row, race) or 0.0 for row in shown]
    colours = [_colour(row) for row in shown]
    names = [row.contender for row in shown]
    axes.barh(names, [min(factor, LONGEST) for factor in factors], color=colours, height=0.75)
    axes.axvline(1, color=MUTED, linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlim(0, LONGEST * 1.25)
    axes.grid(axis="y", visible=False)
    axes.set_title(f"{race[0].op}, {race[0].size} ({race[0].isa})", loc="left")
    for i, (row, factor) in enumerate(zip(shown, factors, strict=True)):
        label = f"{factor:.1f}  ({table.duration(row.wall_s)})"
        axes.text(max(1, min(factor, LONGEST)) + 0.1, i, label, va="center", fontsize=8)


def _colour(row: Row) -> str:
    if row.contender == "floor":
        return FAINT
    return OURS if row.contender in ("ours", "recompute", "stored", "bf16") else MUTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="JSON written by `make bench`")
    for path in render(parser.parse_args().results):
        print(path)


if __name__ == "__main__":
    main()
