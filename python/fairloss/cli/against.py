"""`--against`: the same command for one model, and for the difference of two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fairloss.cli.tables import show

Against = Annotated[
    Path | None, typer.Option(help="Another checkpoint or .npy: report the difference to it.")
]
AgainstFeatures = Annotated[
    Path | None, typer.Option("--against", help="Another .npy: report the difference to it.")
]


def report_of(
    models: Sequence[Any],
    evaluate: Callable[..., dict[str, Any]],
    compare: Callable[..., dict[str, Any]],
    *data: Any,
    **options: Any,
) -> dict[str, Any]:
    """Of one model, or of two: the second minus the first.

    Args:
        models: what `evaluate` takes first; `compare` takes two of it.
        data, options: the rest, the same for both.
    """
    if len(models) == 1:
        return evaluate(models[0], *data, **options)
    rival, ours = models
    return compare(rival, ours, *data, **options)


def show_report(
    title: str,
    report: Mapping[str, Any],
    rows: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    against: object,
) -> None:
    """Print the rows of a report, or of the difference that it holds."""
    if "difference" in report:
        show(f"{title}: minus {against}", rows(report["difference"]))
    else:
        show(title, rows(report))
