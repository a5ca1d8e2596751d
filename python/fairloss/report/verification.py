"""Verification metrics of both arms of a demo and their difference."""

from __future__ import annotations

from typing import Any

from fairloss.report.run_view import Run


def section(run: Run) -> dict[str, Any] | None:
    """Return the entries of both reports and of their difference: intervals, or reasons."""
    if run.evaluation is None:
        return None
    arms = run.evaluation["arms"]
    columns = {"fixed": arms["fixed"], "fair": arms["fair"]}
    columns["difference"] = run.evaluation["comparison"]["difference"]
    paths = {"AUC": ("auc",), "EER": ("eer",)}
    paths |= {f"TAR at FAR {far}": ("tar", far) for far in arms["fixed"]["tar"]}
    paths["Accuracy over folds"] = ("accuracy",)
    metrics = {
        name: [report[key] if not rest else report[key][rest[0]] for report in columns.values()]
        for name, (key, *rest) in paths.items()
    }
    keys = ("value", "low", "high")
    rows = [
        (name, column, entry) if isinstance(entry, str)
        else (name, column, "", *(entry.get(key) for key in keys))
        for name, entries in metrics.items()
        for column, entry in zip(columns, entries, strict=True)
    ]  # fmt: skip
    return {"metrics": metrics, "table": (("metric", "column", "words", *keys), rows)}
