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
    return {"fold accuracy": report["accuracy"]} | rows if "accuracy" in report else rows


def pairs_title(report: Mapping[str, Any]) -> str:
    """How many pairs a report is about, or both reports of a comparison."""
    counted = report.get("b", report)
    return f"{counted['genuine']} genuine and {counted['impostor']} impostor pairs"


def rfw_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of each subset, and their summary."""
    rows = {name: subset["accuracy"] for name, subset in report["subsets"].items()}
    keys = ("mean", "std", "skewed_error_ratio", "worst")
    return rows | {key: report[key] for key in keys if key in report}


def group_rows(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One group of a report by groups."""
    group = report["groups"][name]
    if "reason" in group:
        return {"": group["reason"]}
    common = group["at_common_threshold"]
    return verification_rows(group) | {
        f"{rate.upper()} at the common threshold": common[rate] for rate in ("far", "tar")
    }


def groups_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a report by groups."""
    keys = ("mean_eer", "std_eer", "skewed_error_ratio", "worst")
    return {key: report[key] for key in keys if key in report}
