"""Probes and the faces nearest to them: a section of the page, and a picture."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from fairloss.io.atomic import write_atomic
from fairloss.io.text import printable
from fairloss.report.drawing import STYLE, picture_kind
from fairloss.report.run_view import Run
from fairloss.typing import Bytes

TILE = 1.2  # inches


def section(run: Run) -> dict[str, Any] | None:
    """Return for each query its tiles: class, base64 PNG, name and cosine (None: the probe)."""
    if run.queries is None:
        return None
    strips: list[list[tuple[str, str, str, float | None]]] = []
    rows: list[tuple[object, ...]] = [("probe", "rank", "match", "cosine", "same_person")]
    images = zip(run.queries.listing, run.queries.probes, run.queries.matches, strict=True)
    for query, probe, faces in images:
        strips.append([("probe", _png(probe), query["probe"], None)])
        for rank, (match, face) in enumerate(zip(query["matches"], faces, strict=True), start=1):
            # the identity is the part of the name before the first slash
            same = query["probe"].partition("/")[0] == match["name"].partition("/")[0]
            kind = "same" if same else "other"
            strips[-1].append((kind, _png(face), match["name"], match["score"]))
            rows.append((query["probe"], rank, match["name"], match["score"], same))
    return {"strips": strips, "csv": "Nearest faces", "rows": rows}


def _png(pixels: Bytes) -> str:
    """Return the base64 PNG of a (c, H, W) image, c = 1 (gray) or 3 (RGB)."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    data = io.BytesIO()
    image.save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode("ascii")


class Face(NamedTuple):
    """A face with its captions.

    Attributes:
        pixels: uint8 (c, H, W), c = 1 or 3.
        title: written above the image.
        name: written below it.
    """

    pixels: Bytes
    title: str
    name: str


def draw_nearest(rows: Sequence[Sequence[Face]], output: Path) -> None:
    """Draw one row of faces for each probe, which comes first.

    Args:
        rows: may differ in length.
        output: .svg, .png or .pdf.

    Raises:
        ValueError: another suffix.
    """
    kind = picture_kind(output)
    columns = max(map(len, rows))
    size = (TILE * columns, 1.35 * TILE * len(rows))  # 0.35: two lines of text
    with matplotlib.style.context(["default", STYLE], after_reset=True):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for row, faces in zip(grid, rows, strict=True):
            for axes, face in zip(row, faces, strict=False):
                _draw(axes, face)
        write_atomic(output, lambda path: figure.savefig(path, format=kind, facecolor="white"))


def _draw(axes: Axes, face: Face) -> None:
    axes.imshow(face.pixels.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
    axes.set_title(face.title)
    name = printable(face.name)
    short = name if len(name) <= 22 else f"…{name[-21:]}"  # as wide as the tile
    axes.text(0.5, -0.04, short, transform=axes.transAxes, ha="center", va="top", fontsize=6)
