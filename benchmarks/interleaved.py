"""A fair race between ways to compute the same thing, on a machine with other work to do.

Rounds alternate between the contenders, so that what disturbs the machine disturbs them alike.
Reported are medians of wall time and of processor time (all threads), and the peak of memory.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 15


@dataclass(frozen=True)
class Result:
    """What one contender took."""

    wall: float  # seconds, median of the rounds
    cpu: float  # seconds, median, summed over threads
    peak: float | None  # MiB above what was resident before; None where the system cannot tell


class Contender:
    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.walls: list[float] = []
        self.cpus: list[float] = []

    def run(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.function()
        self.cpus.append(time.process_time() - cpu)
        self.walls.append(time.perf_counter() - wall)

    def result(self) -> Result:
        median = statistics.median
        return Result(median(self.walls), median(self.cpus), peak_memory(self.function))


def race(
    benchmark: BenchmarkFixture,
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
) -> dict[str, Result]:
    """Run all contenders in turn; the first one is what pytest-benchmark's own table shows.

    How many times as long, and as much memory, the others take is left in `benchmark.extra_info`.
    """
    for function in contenders.values():  # first calls load, allocate and choose kernels
        function()
    field = {name: Contender(function) for name, function in contenders.items()}
    first, *others = field.values()

    def run_others() -> None:
        for contender in others:
            contender.run()

    benchmark.pedantic(first.run, setup=run_others, rounds=rounds)
    results = {name: contender.result() for name, contender in field.items()}
    benchmark.extra_info.update(ratios(results))
    return results


def ratios(results: Mapping[str, Result]) -> dict[str, float]:
    """Every contender over the first one, and all peaks in MiB."""
    first = next(iter(results.values()))
    table = {}
    for name, result in results.items():
        if result is not first:
            table[f"{name} / ours, wall"] = round(result.wall / first.wall, 3)
            table[f"{name} / ours, cpu"] = round(result.cpu / first.cpu, 3)
        if result.peak is not None:
            table[f"{name}, peak MiB"] = round(result.peak, 1)
    return table


def peak_memory(function: Callable[[], object]) -> float | None:
    """MiB that a call adds to the resident memory at its peak: torch's tensors and C++'s alike."""
    if sys.platform != "linux":
        return None
    ctypes.CDLL(None).malloc_trim(0)  # free pages kept by malloc would hide what the call needs
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _status("VmRSS")
    function()
    return max(_status("VmHWM") - before, 0.0)


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
