"""The command `fairloss report`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.report import write_report


def report(
    run: Annotated[Path, typer.Argument(help="Run folder of `train` or `demo`.")],
    output: Annotated[Path | None, typer.Option(help="Default: report.html in the run.")] = None,
) -> None:
    """Write one self-contained HTML page about a run.

    Example: `fairloss report runs/mine`
    """
    print_line(f"wrote {write_report(run, output)}")
