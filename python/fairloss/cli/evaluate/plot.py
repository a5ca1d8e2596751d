"""The command `fairloss evaluate plot`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.cli.evaluate._report import print_values
from fairloss.data import read_cmc
from fairloss.io.output import check_output


def plot(
    results: Annotated[list[Path], typer.Argument(help="cmc_*.json files, ours or the kit's.")],
    output: Annotated[Path, typer.Option(help="An .svg, .png or .pdf figure.")] = Path("cmc.svg"),
) -> None:
    """Draw CMC and ROC curves of several MegaFace results in one figure.

    Example: `fairloss evaluate plot ours/cmc_*.json theirs/cmc_*.json --output cmc.svg`
    """
    check_output(output, folder=False)
    from fairloss.report.cmc import draw_cmc

    curves = {str(path): read_cmc(path) for path in results}
    draw_cmc(curves, output)
    print_values("rank-1", {name: curve.rank_1() for name, curve in curves.items()})
    print_line(f"wrote {output}")
