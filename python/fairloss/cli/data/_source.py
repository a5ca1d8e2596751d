"""Options of the commands that read a set of images."""

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[
    Path,
    typer.Argument(help="Folder of identity/image files or of arrays, a .rec, or a list file."),
]
NewSet = Annotated[Path, typer.Option("--output", help="New folder for the set.")]
ReportFile = Annotated[Path | None, typer.Option("--output", help="A JSON file of all of it.")]
