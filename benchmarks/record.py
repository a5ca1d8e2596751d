"""The results of a run of the benchmarks, and their files: JSON with everything, CSV with the rows.

Version 1 of the JSON: {"version": 1, "machine": {name: value}, "notes": [text], "rows": [Row]}. The
file calls a candidate a contender, and files of earlier versions call the roofline bound a floor.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from interleaved import Result

from fairloss.io.atomic import write_text

VERSION = 1
KEYS = {"candidate": "contender", "peaks": "ceilings"}  # field -> its key in files
FIELDS = {key: name for name, key in KEYS.items()}


@dataclass(frozen=True)
class Row:
    """One candidate of one comparison."""

    op: str
    size: str
    candidate: str
    threads: int
    isa: str  # instruction set of our kernels in this process; torch chooses its own
    wall_s: float
    cpu_s: float
    wall_over_ours: float | None  # None where ours did not run
    peak_mib: float | None  # besides inputs and results
    rounds: int


@dataclass
class Record:
    machine: dict[str, str]
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def add(self, op: str, size: str, isa: str, results: Sequence[Result]) -> None:
        ours = {result.threads: result.wall for result in results if result.candidate == "ours"}
        for result in results:
            base = ours.get(result.threads)
            self.rows.append(
                Row(
                    op,
                    size,
                    result.candidate,
                    result.threads,
                    isa,
                    result.wall,
                    result.cpu,
                    None if base is None else result.wall / base,
                    result.peak,
                    result.rounds,
                )
            )

    def write(self, stem: Path) -> list[Path]:
        """Write `stem`.json and `stem`.csv, and return their paths."""
        text = io.StringIO()
        rows = [rename(asdict(row), KEYS) for row in self.rows]
        names = [KEYS.get(column.name, column.name) for column in fields(Row)]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        everything = {"version": VERSION} | asdict(self) | {"rows": rows}
        paths = [stem.with_name(stem.name + suffix) for suffix in (".json", ".csv")]
        write_text(paths[0], json.dumps(everything, indent=1) + "\n")
        write_text(paths[1], text.getvalue())
        return paths


def read(path: Path) -> Record:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("version") != VERSION:
        raise ValueError(f"{path}: expected version {VERSION}, got {content.get('version')!r}")
    rows = [Row(**rename(row, FIELDS)) for row in content["rows"]]
    rows = [replace(row, candidate="bound") if row.candidate == "floor" else row for row in rows]
    notes = [note.replace(": floor by ", ": roofline bound: ") for note in content["notes"]]
    return Record(content["machine"], notes, rows)


def rename(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the values under other names, in the same order."""
    return {names.get(name, name): value for name, value in values.items()}
