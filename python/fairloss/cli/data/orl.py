"""The command `fairloss data orl`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.data import export_orl


def orl(
    output: Annotated[Path, typer.Argument(help="New folder for the images.")],
) -> None:
    """Write the ORL/AT&T faces as identity/image files: 40 identities, 10 images each (4.5 MB).

    From AT&T Laboratories Cambridge, free for research with acknowledgement. Example:
    `fairloss data orl faces`
    """
    print_line(f"wrote {export_orl(output)}")
