"""The command `fairloss data megaface`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.data import planted_megaface, write_planted
from fairloss.io.output import locked_output


def megaface(
    output: Annotated[Path, typer.Argument(help="Folder for features and lists.")],
    identities: Annotated[int, typer.Option("--people", help="Probe identities.")] = 80,
    probes: Annotated[int, typer.Option(help="Probe images.")] = 3530,
    distractors: Annotated[int, typer.Option(help="Gallery images.")] = 1_000_000,
    dimension: Annotated[int, typer.Option(help="Of the features.")] = 512,
) -> None:
    """Write a synthetic MegaFace challenge with a known result (2 GB at full size).

    Example: `fairloss data megaface planted --distractors 10000`
    """
    with locked_output(output):
        challenge = planted_megaface(identities, probes, distractors, dimension)
        write_planted(output, challenge)
    print_line(
        f"{output}: rank-1 must be {challenge.recall():.6f}, TAR@FAR=1e-6 "
        f"{challenge.tar(1e-6):.6f} among {distractors} distractors"
    )
