from __future__ import annotations

import pytest
from record import Record, Row

MACHINE = {
    "processor": "Test CPU",
    "extensions": "AVX2",
    "threads": "2 of 2",
    "torch": "2.13.0",
    "MKL": "",
    "instruction set": "avx2",
}


@pytest.fixture
def row():
    """A function that makes a row of an imaginary comparison."""

    def make(candidate: str, wall: float, **changes: object) -> Row:
        values = {
            "op": "head",
            "size": "B=2 C=3",
            "candidate": candidate,
            "threads": 2,
            "isa": "avx2",
            "wall_s": wall,
            "cpu_s": 2 * wall,
            "wall_over_ours": wall / 0.5,
            "peak_mib": 10.0 * wall,
            "rounds": 5,
        }
        return Row(**(values | changes))

    return make


@pytest.fixture
def results(row) -> Record:
    """Two comparisons: ours 2x the bound and half of eager; then on 1 and 2 threads."""
    comparison = [row("ours", 0.5), row("bound", 0.25), row("eager", 1.0)]
    scaled = [
        row(name, wall, op="head on 1 to n threads", threads=threads)
        for name, walls in (("ours", (4.0, 2.0)), ("bound", (3.0, 2.0)))
        for threads, wall in zip((1, 2), walls, strict=True)
    ]
    return Record(MACHINE, ["a note"], comparison + scaled)
