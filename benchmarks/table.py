"""Results as a Markdown table, whose columns also line up in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from record import Record, Row

COLUMNS = (
    "op and size",
    "contender",
    "threads",
    "time",
    "over ours",
    "over floor",
    "CPU time",
    "extra memory",
    "over eager",
    "rounds",
)
PLAIN = ("eager", "reference")  # plain torch, whose memory ours is compared with
SCALING = " on 1 to n threads"  # ends the op of a race about threads


def headline(machine: dict[str, str]) -> str:
    """The processor, and what else decides a figure."""
    apart = ("processor", "extensions", "threads")
    details = (f"{name} {value}" for name, value in machine.items() if value and name not in apart)
    extensions = f" ({machine['extensions']})" if machine["extensions"] else ""
    return f"{machine['processor']}{extensions}, threads {machine['threads']}; " + ", ".join(
        details
    )


def races(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of the same race together, in their order."""
    return [list(race) for _, race in groupby(rows, key=lambda row: (row.op, row.size, row.isa))]


def over_floor(row: Row, race: Sequence[Row]) -> float | None:
    """Time as a multiple of the floor's on as many threads."""
    for other in race:
        if other.contender == "floor" and other.threads == row.threads:
            return row.wall_s / other.wall_s
    return None


def memory_over_plain(row: Row, race: Sequence[Row]) -> float | None:
    """Extra memory as a share of that of plain torch, the same way measured."""
    for name in PLAIN:
        for other in race:
            if other.contender == name and other.peak_mib:
                return None if row.peak_mib is None else row.peak_mib / other.peak_mib
    return None


def scaling(race: Sequence[Row]) -> str:
    """How much faster more threads are, against the floor."""
    wall = {(row.contender, row.threads): row.wall_s for row in race}
    few, many = min(row.threads for row in race), max(row.threads for row in race)
    ours, floor = (wall[name, few] / wall[name, many] for name in ("ours", "floor"))
    return (
        f"{race[0].op}, {race[0].size}: {many} threads are {ours:.2f}x as fast as {few}, "
        f"the floor's {floor:.2f}x: a quotient of {ours / floor:.2f}"
    )


def markdown(record: Record) -> str:
    """The table, then what is to be said about it."""
    cells = [COLUMNS] + [
        line for race in races(record.rows) for line in _lines(race, record.machine)
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # The first two columns are words, the others are numbers, which end in one line.
    rule = ["-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = ["| " + " | ".join(_padded(line, widths)) + " |" for line in cells]
    lines.insert(1, "| " + " | ".join(rule) + " |")
    notes = [scaling(race) for race in races(record.rows) if race[0].op.endswith(SCALING)]
    return "\n".join(lines) + "\n\n" + "".join(f"- {note}\n" for note in notes + record.notes)


def _lines(race: Sequence[Row], machine: dict[str, str]) -> list[tuple[str, ...]]:
    isa = "" if race[0].isa == machine["instruction set"] else f", {race[0].isa}"
    titles = [f"{race[0].op}, {race[0].size}{isa}"] + [""] * (len(race) - 1)
    return [
        (
            title,
            row.contender,
            str(row.threads),
            duration(row.wall_s),
            _times(row.wall_over_ours),
            _times(over_floor(row, race)),
            duration(row.cpu_s),
            "" if row.peak_mib is None or row.contender == "floor" else f"{row.peak_mib:.1f} MiB",
            "" if row.contender == "floor" else _times(memory_over_plain(row, race)),
            str(row.rounds),
        )
        for title, row in zip(titles, race, strict=True)
    ]


def duration(seconds: float) -> str:
    """Three figures, and the unit that suits them."""
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
