"""HTML: the page, its style sheet and its few elements. Text is escaped here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark;
  --face: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  --ink: #26262b; --quiet: #63636c; --line: #dedee3;
  --page: #fbfbfa; --card: #ffffff; --good: #00765a; --bad: #b34700; --bar: #8f7fb3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6ea; --quiet: #a2a2ad; --line: #3a3a42;
  --page: #18181b; --card: #222226; --good: #3fc9a2; --bad: #f29b5c; --bar: #9d8cc6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1rem 4rem; max-width: 46rem; background: var(--page);
  color: var(--ink); font: 1rem/1.6 var(--face); }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; letter-spacing: -0.01em; }
h2 { font-size: 1.25rem; margin: 3.5rem 0 .5rem; letter-spacing: -0.005em; }
p { margin: .6rem 0; }
.verdict { margin: 1.5rem 0; padding: .9rem 1.1rem; border-left: 4px solid var(--bar);
  background: var(--card); border-radius: 0 .4rem .4rem 0; }
.verdict p { margin: .4rem 0; }
.verdict strong { font-size: 1.15rem; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; }
.note { color: var(--quiet); font-size: .9rem; }
.drawing { margin-top: .8rem; padding: .8rem; overflow-x: auto; background: #fff;
  border: 1px solid var(--line); border-radius: .5rem; }
.drawing svg { display: block; margin: 0 auto; width: 100%; height: auto;
  min-width: 21rem; max-width: 39rem; }
.drawing svg text { font-family: var(--face) !important; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .8rem 0;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--quiet); font-weight: 500; border-bottom-width: 2px; }
tbody th { font-weight: 400; white-space: nowrap; }
td.words { color: var(--quiet); font-size: .85em; text-wrap: balance; }
.low-high { color: var(--quiet); font-size: .85em; white-space: nowrap; }
.bar { display: inline-block; height: .6rem; border-radius: .2rem; background: var(--bar); }
td.share { width: 35%; white-space: nowrap; }
td.share, #cost th:last-child { text-align: left; padding-left: 1.5rem; }
details { margin: .6rem 0; font-size: .9rem; }
summary { cursor: pointer; color: var(--quiet); }
pre { max-height: 22rem; overflow: auto; padding: .8rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem; font: .8rem/1.5 ui-monospace, monospace; }
.query { display: grid; grid-template-columns: repeat(6, 1fr); gap: .5rem; margin: 1.1rem 0; }
.face { margin: 0; min-width: 0; font-size: .75rem; line-height: 1.35; text-align: center; }
.face img { display: block; width: 100%; border: 3px solid transparent; border-radius: .35rem; }
.face b, .face span { display: block; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.face span { color: var(--quiet); }
.probe img { border-color: var(--line); }
.same img { border: 3px solid #009E73; } .same b { color: var(--good); }
.other img { border: 3px dashed #D55E00; } .other b { color: var(--bad); }
footer { margin-top: 3.5rem; border-top: 1px solid var(--line); }
@media (max-width: 34rem) { body { padding-top: 1.5rem; }
  .drawing { margin-inline: -1rem; padding: .8rem .3rem; border-inline: 0; border-radius: 0; }
  .query { grid-template-columns: repeat(3, 1fr); margin-bottom: 2rem; }
  table { font-size: .8rem; } th, td { padding: .35rem .25rem; }
  td:last-child, th:last-child { padding-right: 0; }
  tbody th, .low-high { white-space: normal; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; }
  :root { --page: #fff; --card: #fff; --ink: #000; --quiet: #444; --line: #ccc; }
  figure, .query, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .drawing { overflow: visible; } .drawing svg { min-width: 0; } pre { max-height: none; } }
"""


def page(title: str, body: str) -> str:
    """A whole document."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def section(name: str, heading: str, body: str) -> str:
    """A section that a link can point to."""
    return f'<section id="{name}">\n<h2>{escape(heading)}</h2>\n{body}\n</section>'


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def figure(caption: str, svg: str) -> str:
    """A drawing under the sentence that says what to look for."""
    return (
        f"<figure>\n<figcaption>{escape(caption)}</figcaption>\n"
        f'<div class="drawing">{svg}</div>\n</figure>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells after the first of each row are HTML, from `cell`, `words` or `share`."""
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>' for name, *cells in rows
    )
    return (
        f'<div class="wide"><table>\n<thead><tr>{columns}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody>\n</table></div>"
    )


def cell(text: str, quiet: str = "") -> str:
    """A table cell: a number, and in small type what belongs to it."""
    small = f' <span class="low-high">{escape(quiet)}</span>' if quiet else ""
    return f"<td>{escape(text)}{small}</td>"


def words(text: str) -> str:
    """A table cell with words where others have a number."""
    return f'<td class="words">{escape(text)}</td>'


def share(part: float) -> str:
    """A table cell with a bar for a share in [0, 1]."""
    width = f"{part * 9:.2f}rem"
    return f'<td class="share"><span class="bar" style="width:{width}"></span> {part:.0%}</td>'


def numbers(what: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The numbers behind a figure as CSV, folded away; full precision, empty for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return folded(f"{what} as CSV", text.getvalue())


def folded(summary: str, text: str) -> str:
    """Preformatted text behind a line to click on."""
    return (
        f"<details><summary>{escape(summary)}</summary>\n"
        f'<pre tabindex="0">{escape(text)}</pre></details>'
    )


def signed(value: float) -> str:
    """Four decimals with a sign; a true minus, which is as wide as the plus."""
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")
