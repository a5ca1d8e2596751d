"""Seconds per phase of a demo, or of training and statistics in a single run."""

from typing import Any

from fairloss.report.run_view import Run


def section(run: Run) -> dict[str, Any] | None:
    """Return the phases (name, steps, seconds) and their total."""
    if run.demo is not None:
        phases = [(p["name"], str(p["steps"]), p["seconds"]) for p in run.demo["phases"]]
    else:
        epochs = run.training["run"].epochs
        steps = {"train": str(epochs[-1]["step"]), "statistics": ""} if epochs else {}
        phases = [
            (name, count, sum(line["seconds"][name] for line in epochs))
            for name, count in steps.items()
        ]
    total = sum(seconds for *_, seconds in phases)
    if not total:
        return None
    rows = [("phase", "steps", "seconds"), *phases]
    return {"phases": phases, "total": total, "csv": "Cost", "rows": rows}
