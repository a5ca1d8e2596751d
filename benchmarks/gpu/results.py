"""The results of a check on a GPU, and their two files: JSON with everything, Markdown to read.

Version 1 of the JSON: {"version": 1, "device": text, "dry_run": bool, "versions": {name: text},
"ceilings": {name: number per second}, "missing": {baseline: reason}, "steps": [Step],
"rows": [Row]}. The file calls peaks ceilings and a candidate a contender.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from record import FIELDS, KEYS, rename
from table import duration

from fairloss.io.atomic import write_text

VERSION = 1
STATUSES = ("passed", "failed", "missing")


@dataclass(frozen=True)
class Step:
    name: str
    status: str  # one of STATUSES
    seconds: float
    detail: str  # the measured number, or why it failed


@dataclass(frozen=True)
class Row:
    """One candidate of one comparison. A candidate that failed has a reason and no time."""

    op: str
    size: str
    candidate: str
    seconds: float | None  # median
    peak_mib: float | None  # of the GPU, besides inputs
    operations: float | None  # that every implementation needs
    bytes: float | None  # that must be moved
    reason: str = ""

    def rates(self) -> tuple[float | None, float | None]:
        """Return operations and bytes per second."""
        return (
            self.operations / self.seconds if self.operations and self.seconds else None,
            self.bytes / self.seconds if self.bytes and self.seconds else None,
        )


@dataclass
class Results:
    device: str
    dry_run: bool
    versions: dict[str, str]
    peaks: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def slug(self) -> str:
        return "gpu-" + re.sub(r"[^a-z0-9]+", "-", self.device.lower()).strip("-")

    def add_step(self, step: Step) -> None:
        """Add a step, or replace the one of its name."""
        self.steps = [old for old in self.steps if old.name != step.name] + [step]

    def add_rows(self, rows: list[Row]) -> None:
        """Add the rows of a comparison, or replace those of its ops and sizes."""
        again = {(row.op, row.size) for row in rows}
        self.rows = [old for old in self.rows if (old.op, old.size) not in again] + rows

    def write(self, folder: Path) -> list[Path]:
        """Write `folder`/gpu-<device>.json and .md, each whole, and return their paths."""
        paths = [folder / f"{self.slug}{suffix}" for suffix in (".json", ".md")]
        content = {"version": VERSION} | rename(asdict(self), KEYS)
        content["rows"] = [rename(row, KEYS) for row in content["rows"]]
        write_text(paths[0], json.dumps(content, indent=1) + "\n")
        write_text(paths[1], markdown(self))
        return paths


def read(path: Path) -> Results:
    content = json.loads(path.read_text(encoding="utf-8"))
    version = content.pop("version", None)
    if version != VERSION:
        raise ValueError(f"{path}: expected version {VERSION}, got {version!r}")
    steps = [step | {"name": FIELDS.get(step["name"], step["name"])} for step in content["steps"]]
    content["steps"] = [Step(**step) for step in steps]
    content["rows"] = [Row(**rename(row, FIELDS)) for row in content["rows"]]
    return Results(**rename(content, FIELDS))


def markdown(results: Results) -> str:
    title = f"# fairloss on {results.device}"
    dry = "\n**A dry run on a CPU: its numbers mean nothing.**\n" if results.dry_run else ""
    versions = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    parts = [title, dry, versions, "\n## Steps\n", steps_table(results)]
    parts += ["\n## Peaks, measured in this run\n", peaks_table(results)]
    parts += ["\n## Comparisons\n", rows_table(results)]
    missing = [f"- {name} is missing: {reason}" for name, reason in results.missing.items()]
    return "\n".join([*parts, "", *missing, ""])


def steps_table(results: Results) -> str:
    lines = ["| step | status | time | |", "|---|---|---:|---|"]
    for step in results.steps:
        detail = " ".join(step.detail.split())[:200].replace("|", "\\|")
        lines.append(f"| {step.name} | {step.status} | {duration(step.seconds)} | {detail} |")
    return "\n".join(lines)


def peaks_table(results: Results) -> str:
    lines = ["| peak | |", "|---|---:|"]
    for name, rate in results.peaks.items():
        unit = "GB/s" if name == "copy" else "TFLOP/s"
        lines.append(f"| {name} | {rate / (1e9 if name == 'copy' else 1e12):.4g} {unit} |")
    return "\n".join(lines)


def rows_table(results: Results) -> str:
    """Return the table of comparisons; rates and their shares of a peak are of necessary work."""
    products = [name for name in results.peaks if name != "copy"]
    names = ["op and size", "candidate", "time", "over ours", "extra memory", "TFLOP/s"]
    names += [f"of {name}" for name in products] + ["GB/s", "of copy"]
    lines = [f"| {' | '.join(names)} |", "|---|---" + "|---:" * (len(names) - 2) + "|"]
    ours = {(r.op, r.size): r.seconds for r in results.rows if r.candidate == "ours"}
    for row in results.rows:
        first = f"{row.op}, {row.size}"
        if row.seconds is None:
            blank = " |" * (len(names) - 3)
            lines.append(f"| {first} | {row.candidate} | {row.reason[:80]} |{blank}")
            continue
        base = ours.get((row.op, row.size))
        operations, traffic = row.rates()
        cells = [first, row.candidate, duration(row.seconds), ratio(row.seconds, base)]
        cells.append("" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB")
        cells.append("" if operations is None else f"{operations / 1e12:.4g}")
        cells += [ratio(operations, results.peaks[name]) for name in products]
        cells.append("" if traffic is None else f"{traffic / 1e9:.4g}")
        cells.append(ratio(traffic, results.peaks.get("copy")))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(number: float | None, over: float | None) -> str:
    return "" if number is None or not over else f"{number / over:.2f}"
