"""The coverage table of docs/evaluation.md.

python benchmarks/coverage_table.py benchmarks/results/interval-coverage.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CELLS = ("10 x 10", "20 x 5", "50 x 4", "200 x 3", "lists")
KINDS = ("value", "difference")
SCORES = ("strong", "strong, harder", "weak", "embeddings", "megaface")
NAMES = {  # in the order of the rows
    "auc": "AUC",
    "eer": "EER",
    "tar@0.1": "TAR@0.1",
    "tar@0.01": "TAR@0.01",
    "tar@0.001": "TAR@0.001",
    "accuracy": "accuracy",
    "rank_1": "rank-1",
}

Record = dict[str, Any]


def entry(record: Record | None) -> str:
    """Return coverage and relative width of a record, and which of the two is not as required."""
    if record is None:
        return ""
    if not record["measurable"]:
        return "not measurable"
    low = record["coverage"] < 0.95
    failures = [] if record["covers"] else ["low" if low else "high"]
    failures += [] if record["narrow"] else ["wide"]
    return " ".join(
        [f"{record['coverage']:.3f} ({record['width']:.2f})", ", ".join(failures)]
    ).strip()


def markdown(records: Sequence[Record]) -> str:
    """Return the table, a row for each number: of one model, and of the difference of two."""
    cells = [cell for cell in CELLS if any(record["cell"] == cell for record in records)]
    lines = [f"| scores | number | {' | '.join(cells)} |", "|" + " --- |" * (len(cells) + 2)]
    rows: dict[tuple[str, str], dict[tuple[str, str], Record]] = {}
    for record in sorted(records, key=_order):
        scores = record["scores"] + (", bootstrap" if record["method"] == "bootstrap" else "")
        row = rows.setdefault((scores, NAMES[record["statistic"]]), {})
        row[record["cell"], record["kind"]] = record
    for head, row in rows.items():
        texts = [[entry(row.get((cell, kind))) for kind in KINDS] for cell in cells]
        joined = [a if a == b else f"{a}; {b}" for a, b in texts]
        lines.append(f"| {' | '.join([*head, *joined])} |")
    return "\n".join(lines)


def _order(record: Record) -> tuple[bool, int, int]:
    """Return the bootstrap last, then by scores and number."""
    number = list(NAMES).index(record["statistic"])
    return record["method"] == "bootstrap", SCORES.index(record["scores"]), number


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["records"]))
