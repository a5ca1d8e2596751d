"""The command `fairloss data align`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.data import open_aligned, read_landmarks
from fairloss.data.features import stem
from fairloss.io.atomic import write_atomic


def align(
    data: Annotated[Path, typer.Option(help="Folder the landmarks' names are relative to.")],
    landmarks: Annotated[Path, typer.Option(help="`name x1 y1 .. x5 y5 score` lines.")],
    output: Annotated[Path, typer.Option(help="Folder of the aligned images, in PNG.")],
) -> None:
    """Turn, scale and move faces so that five landmarks lie on the common 112 x 112 template.

    Images that exist are kept, so an interrupted run resumes. Example:
    `fairloss data align --data raw --landmarks points.txt --output aligned`
    """
    listed = read_landmarks(landmarks)
    with progress_bars() as progress:
        for row, name in enumerate(listed.names):
            target = output / f"{stem(name)}.png"
            if not target.is_file():
                face = open_aligned(data / name, listed.points[row])
                write_atomic(target, partial(face.save, format="PNG"))
            progress("align", row + 1, len(listed.names))
    print_line(f"{len(listed.names)} aligned images: {output}")
