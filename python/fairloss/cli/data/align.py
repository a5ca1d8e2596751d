"""The command `fairloss data align`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.data import open_aligned, read_landmarks
from fairloss.data.images import image_files
from fairloss.data.suffixes import without_suffix
from fairloss.data.text_files import check_format
from fairloss.io.atomic import write_atomic
from fairloss.io.output import locked_output


def align(
    data: Annotated[Path, typer.Option(help="Folder the landmarks' names are relative to.")],
    landmarks: Annotated[Path, typer.Option(help="`name x1 y1 .. x5 y5 score` lines.")],
    output: Annotated[Path, typer.Option(help="Folder of the aligned images, in PNG.")],
) -> None:
    """Turn, scale and move faces so that five landmarks lie on the common 112 x 112 template.

    Images that exist are kept, so an interrupted run resumes. Example:
    `fairloss data align --data raw --landmarks points.txt --output aligned`
    """
    with locked_output(output):
        count = _align(data, landmarks, output)
    print_line(f"{count} aligned images: {output}")


def _align(data: Path, landmarks: Path, output: Path) -> int:
    """Write the aligned images that are missing, and return the number of all."""
    listed = read_landmarks(landmarks)
    targets = [output / f"{without_suffix(name)}.png" for name in listed.names]
    different = len(set(targets)) == len(set(listed.names))
    check_format(different, landmarks, "expected names that differ in more than the suffix")
    left = [row for row, target in enumerate(targets) if not target.is_file()]
    files = dict(zip(left, image_files(data, [listed.names[row] for row in left]), strict=True))
    with progress_bars() as progress:
        for row, target in enumerate(targets):
            if not target.is_file():
                face = open_aligned(files[row], listed.points[row])
                write_atomic(target, partial(face.save, format="PNG"))
            progress("align", row + 1, len(listed.names))
    return len(targets)
