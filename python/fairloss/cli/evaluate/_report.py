"""Reports of one model, or of its difference to a baseline, and their tables."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairloss.cli._console import print_line
from fairloss.cli._tables import print_table
from fairloss.io.json import write_json

Report = Mapping[str, Any]

CHECKPOINTS = "a difference of two checkpoints, not of two methods: another seed gives another"
NETWORKS = "intervals count other identities, and other networks of a side that has several"


def evaluate_models(
    models: Sequence[Any],
    evaluate: Callable[..., dict[str, Any]],
    compare: Callable[..., dict[str, Any]],
    *data: Any,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate one model, or compare two: the second minus the first.

    Args:
        models: what `evaluate` takes one of as its first argument, and `compare` two.
        evaluate: protocol for one model.
        compare: protocol for the difference of two models.
        *data: the other positional arguments of both.
        **options: keyword arguments of both.
    """
    return (evaluate if len(models) == 1 else compare)(*models, *data, **options)


def write_report(
    path: Path, report: Report, title: str, rows: Callable[[Report], Report], against: object
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
    title: str, report: Report, rows: Callable[[Report], Report], against: object
) -> None:
    """Print the rows of a report, or of the difference that it holds."""
    suffix = f": minus {against}" if "difference" in report else ""
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


def pairs_title(report: Report) -> str:
    """Return the number of pairs of a report, or of both reports of a comparison."""
    counts = report.get("b", report)
    counts = counts["networks"][0] if "networks" in counts else counts
    return f"{counts['genuine']} genuine and {counts['impostor']} impostor pairs"
