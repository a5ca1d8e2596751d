"""Reports as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show(title: str, rows: Mapping[str, Any]) -> None:
    """Print values with their intervals; a text in place of a number says why there is none."""
    table = Table(title=title, title_justify="left")
    for column in ("metric", "value", "95% interval"):
        table.add_column(column)
    for name, value in rows.items():
        if isinstance(value, dict):
            interval = f"{value['low']:.4f} to {value['high']:.4f}"
            table.add_row(name, f"{value['value']:.4f}", interval)
        else:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value), "")
    Console().print(table)


def verification_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """AUC, EER, TAR@FAR and the folds' accuracy of a report of pairs."""
    rows = {"AUC": report["auc"], "EER": report["eer"]}
    rows |= {f"TAR@FAR={float(far):g}": value for far, value in report["tar"].items()}
    if "accuracy" in report:
        return {"fold accuracy": report["accuracy"]} | rows
    if "fold_accuracy" in report:
        folds = report["fold_accuracy"]
        rows["balanced fold accuracy"] = folds if isinstance(folds, str) else folds["mean"]
    return rows


def pairs_title(report: Mapping[str, Any]) -> str:
    """How many pairs a report is about."""
    return f"{report['genuine']} genuine and {report['impostor']} impostor pairs"
