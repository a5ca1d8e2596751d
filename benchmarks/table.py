"""Results as a Markdown table, whose columns are also aligned in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from record import Record, Row

COLUMNS = (
    "op and size",
    "candidate",
    "threads",
    "time",
    "over ours",
    "over bound",
    "CPU time",
    "extra memory",
    "over eager",
    "rounds",
)
PLAIN = ("eager", "reference")  # plain torch, the baseline of memory
SCALING = " on 1 to n threads"  # suffix of the op in a comparison of thread counts


def headline(machine: dict[str, str]) -> str:
    """Return the CPU, and what else affects a measurement."""
    first = ("processor", "extensions", "threads")
    details = (f"{name} {value}" for name, value in machine.items() if value and name not in first)
    extensions = f" ({machine['extensions']})" if machine["extensions"] else ""
    return f"{machine['processor']}{extensions}, threads {machine['threads']}; " + ", ".join(
        details
    )


def comparisons(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows of each comparison, in their order."""
    return [list(part) for _, part in groupby(rows, key=lambda row: (row.op, row.size, row.isa))]


def over_bound(row: Row, comparison: Sequence[Row]) -> float | None:
    """Return the time as a multiple of the bound's on as many threads."""
    for other in comparison:
        if other.candidate == "bound" and other.threads == row.threads:
            return row.wall_s / other.wall_s
    return None


def memory_over_plain(row: Row, comparison: Sequence[Row]) -> float | None:
    """Return the extra memory as a fraction of that of plain torch."""
    for name in PLAIN:
        for other in comparison:
            if other.candidate == name and other.peak_mib:
                return None if row.peak_mib is None else row.peak_mib / other.peak_mib
    return None


def scaling(comparison: Sequence[Row]) -> str:
    """Return a sentence on the speed-up by threads, against the bound's."""
    wall = {(row.candidate, row.threads): row.wall_s for row in comparison}
    few, many = min(row.threads for row in comparison), max(row.threads for row in comparison)
    ours, bound = (wall[name, few] / wall[name, many] for name in ("ours", "bound"))
    return (
        f"{comparison[0].op}, {comparison[0].size}: "
        f"{many} threads are {ours:.2f}x as fast as {few}, "
        f"the bound's {bound:.2f}x: a quotient of {ours / bound:.2f}"
    )


def markdown(record: Record) -> str:
    """Return the table, and the notes below it."""
    parts = comparisons(record.rows)
    cells = [COLUMNS] + [line for part in parts for line in _lines(part, record.machine)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # The first two columns are text, the others are numbers, which are aligned on the right.
    rule = ["-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = ["| " + " | ".join(_padded(line, widths)) + " |" for line in cells]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    notes = [scaling(part) for part in parts if part[0].op.endswith(SCALING)]
    return "\n".join(lines) + "\n\n" + "".join(f"- {note}\n" for note in notes + record.notes)


def _lines(comparison: Sequence[Row], machine: dict[str, str]) -> list[tuple[str, ...]]:
    isa = "" if comparison[0].isa == machine["instruction set"] else f", {comparison[0].isa}"
    titles = [f"{comparison[0].op}, {comparison[0].size}{isa}"] + [""] * (len(comparison) - 1)
    return [
        (
            title,
            row.candidate,
            str(row.threads),
            duration(row.wall_s),
            _times(row.wall_over_ours),
            _times(over_bound(row, comparison)),
            duration(row.cpu_s),
            "" if row.peak_mib is None or row.candidate == "bound" else f"{row.peak_mib:.1f} MiB",
            "" if row.candidate == "bound" else _times(memory_over_plain(row, comparison)),
            str(row.rounds),
        )
        for title, row in zip(titles, comparison, strict=True)
    ]


def duration(seconds: float) -> str:
    """Return three digits, in a suitable unit."""
    unit, factor = ("s", 1) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("us", 1e6)
    value = seconds * factor
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def _times(factor: float | None) -> str:
    return "" if factor is None else f"{factor:.2f}"


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
