"""The results of a run of the benchmarks, and their files: JSON with everything, CSV with the rows.

Version 1 of the JSON: {"version": 1, "machine": {name: value}, "notes": [text], "rows": [Row]}.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from interleaved import Result

VERSION = 1


@dataclass(frozen=True)
class Row:
    """One contender of one race."""

    op: str
    size: str
    contender: str
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
        ours = {result.threads: result.wall for result in results if result.contender == "ours"}
        for result in results:
            reference = ours.get(result.threads)
            self.rows.append(
                Row(
                    op,
                    size,
                    result.contender,
                    result.threads,
                    isa,
                    result.wall,
                    result.cpu,
                    None if reference is None else result.wall / reference,
                    result.peak,
                    result.rounds,
                )
            )

    def write(self, stem: Path) -> list[Path]:
        """Write `stem`.json and `stem`.csv, and return their paths."""
        rows = io.StringIO()
        writer = csv.DictWriter(rows, [column.name for column in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        everything = json.dumps({"version": VERSION} | asdict(self), indent=1) + "\n"
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(stem.name + suffix) for suffix in (".json", ".csv")]
        for path, text in zip(paths, (everything, rows.getvalue()), strict=True):
            write_whole(path, text)
        return paths


def read(path: Path) -> Record:
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("version") != VERSION:
        raise ValueError(f"{path}: expected version {VERSION}, got {content.get('version')!r}")
    return Record(content["machine"], content["notes"], [Row(**row) for row in content["rows"]])


def write_whole(path: Path, text: str) -> None:
    """The file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
