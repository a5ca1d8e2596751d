"""Reports of one model, or of its difference to a baseline, and their tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairloss.cli._console import print_line
from fairloss.cli._tables import print_table
from fairloss.io.json import write_json
from fairloss.ranks import rank_number

Report = Mapping[str, Any]

CHECKPOINTS = "a difference of two checkpoints, not of two methods: another seed gives another"
NETWORKS = "intervals are over other identities and, for a side of several networks, other seeds"


def evaluate_models(
    sides: Sequence[Sequence[Any]],
    evaluate: Callable[..., dict[str, Any]],
    compare: Callable[..., dict[str, Any]],
    *data: Any,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate one model, or compare two sides of networks: the second minus the first.

    Of several ranks, which have embedded the images together, the first one does so and the command
    ends on the others.

    Args:
        sides: one of one model, which `evaluate` takes as its first argument, or the two of
            several models that `compare` takes.
        evaluate: protocol for one model.
        compare: protocol for the difference of two sides.
        *data: the other positional arguments of both.
        **options: keyword arguments of both.
    """
    if rank_number() != 0:
        raise SystemExit  # no error, as typer.Exit is one
    if len(sides) == 2:
        return compare(*sides, *data, **options)
    ((model,),) = sides
    return evaluate(model, *data, **options)


def write_report(
    path: Path,
    report: Report,
    title: str,
    rows: Callable[[Report], Report],
    against: Sequence[object] | None,
) -> None:
    """Write a report as JSON, print its rows, and print the path."""
    write_json(path, dict(report))
    print_report(title, report, rows, against)
    print_notes(report)
    print_line(f"wrote {path}")


def print_notes(report: Report) -> None:
    """Print what to know about the intervals of a report, a line each."""
    for warning in report.get("warnings", []):
        print_line(f"note: {warning}")
    if "difference" in report:
        several = any("networks" in report.get(side, {}) for side in "ab")
        print_line(f"note: {NETWORKS if several else CHECKPOINTS}")


def print_report(
    title: str, report: Report, rows: Callable[[Report], Report], against: Sequence[object] | None
) -> None:
    """Print the rows of a report, or of the difference to networks that it holds."""
    suffix = f": minus {', '.join(map(str, against))}" if against else ""
    print_values(title + suffix, rows(report.get("difference", report)))


def print_values(title: str, values: Report) -> None:
    """Print values with their intervals; a text in place of a number says why there is none."""
    rows = [(name, *_value_and_interval(value)) for name, value in values.items()]
    print_table(title, ("metric", "value", "95% interval"), rows, justify="left")


def _value_and_interval(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        return f"{value['value']:.4f}", f"{value['low']:.4f} to {value['high']:.4f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value), ""


def verification_rows(report: Report) -> dict[str, Any]:
    """Return AUC, EER, TAR@FAR and the folds' accuracy of a report of pairs."""
    rows = {"AUC": report["auc"], "EER": report["eer"]}
    rows |= {f"TAR@FAR={float(far):g}": value for far, value in report["tar"].items()}
    return {"fold accuracy": report["accuracy"]} | rows if "accuracy" in report else rows


def network_report(report: Report) -> Report:
    """Return a report of one model, or that of the first network of this side in a comparison."""
    side: Report = report.get("b", report)
    return side["networks"][0] if "networks" in side else side


def pairs_title(report: Report) -> str:
    """Return the number of pairs of a report, or of both reports of a comparison."""
    counts = network_report(report)
    return f"{counts['genuine']} genuine and {counts['impostor']} impostor pairs"
