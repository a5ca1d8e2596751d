"""A picture of probes and the faces nearest to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fairloss.io.atomic import write_atomic
from fairloss.report.drawing import STYLE, picture_kind
from fairloss.typing import Bytes

TILE = 1.2  # inches


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
    short = face.name if len(face.name) <= 22 else f"…{face.name[-21:]}"  # as wide as the tile
    axes.text(0.5, -0.04, short, transform=axes.transAxes, ha="center", va="top", fontsize=6)
