"""Commands that look at what there is: report, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="Run folder of `train` or `demo`.")],
    output: Annotated[Path | None, typer.Option(help="Default: report.html in the run.")] = None,
) -> None:
    """Write one self-contained HTML page about a run.

    Example: `fairloss report runs/mine`
    """
    from fairloss.report import write_report

    typer.echo(f"wrote {write_report(run, output)}")


def doctor() -> None:
    """What was built, what is missing, and how to mend it.

    Example: `fairloss doctor`
    """
    from fairloss.doctor import diagnose, render

    typer.echo(render(diagnose()))
