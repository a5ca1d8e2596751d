"""Verification metrics of both arms of a demo with one network an arm, and their difference."""

from typing import Any

from fairloss.report.run_view import Run


def section(run: Run) -> dict[str, Any] | None:
    """Return the entries of both reports and of their difference: intervals, or reasons."""
    if run.evaluation is None or "comparison" not in run.evaluation:
        return None
    arms = run.evaluation["arms"]
    difference = run.evaluation["comparison"]["difference"]
    columns = {"fixed": arms["fixed"], "fair": arms["fair"], "difference": difference}
    metrics = {key.upper(): [report[key] for report in columns.values()] for key in ("auc", "eer")}
    for far in arms["fixed"]["tar"]:
        metrics[f"TAR at FAR {far}"] = [report["tar"][far] for report in columns.values()]
    metrics["Accuracy over folds"] = [report["accuracy"] for report in columns.values()]
    keys = ("value", "low", "high")
    rows = [
        (name, column, entry) if isinstance(entry, str)
        else (name, column, "", *(entry.get(key) for key in keys))
        for name, entries in metrics.items()
        for column, entry in zip(columns, entries, strict=True)
    ]  # fmt: skip
    head = ("metric", "column", "words", *keys)
    return {"metrics": metrics, "csv": "Verification", "rows": [head, *rows]}
