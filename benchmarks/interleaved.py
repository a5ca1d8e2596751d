"""Comparison of implementations of the same function on a machine with other load.

Rounds alternate between the candidates, so that other load affects them alike. Reported are medians
of wall time and of CPU time (all threads), and the peak of memory. torch.utils.benchmark.Timer does
not fit here: it calls a function at least three times in a row for one measurement.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pytest_benchmark.fixture import BenchmarkFixture

# Two disturbed rounds change a median of fewer than 5; beyond 15 it hardly changes. Rounds of more
# than half a minute average over short disturbances: 3 suffice.
FEWEST_ROUNDS, MOST_ROUNDS = 5, 15
LONG_ROUND, FEWEST_LONG_ROUNDS = 30.0, 3
BUDGET = 10.0  # seconds of one comparison, unless FEWEST_ROUNDS take longer

# Thresholds of malloc. glibc would raise them to these values itself, when larger blocks are freed.
MAP_FROM, TRIM_FROM = 32 << 20, 64 << 20


class LeftOut(Exception):
    """Raised by a candidate's first call, with the reason why it cannot run here."""


@dataclass(frozen=True)
class Result:
    """Time and memory of one candidate."""

    candidate: str
    threads: int
    wall: float  # seconds, median of the rounds
    cpu: float  # seconds, median, summed over threads
    peak: float | None  # MiB, see peak_memory
    rounds: int


class Candidate:
    def __init__(self, name: str, function: Callable[[], object], threads: int) -> None:
        self.name, self.function, self.threads = name, function, threads
        self.walls: list[float] = []
        self.cpus: list[float] = []

    def run(self) -> None:
        torch.set_num_threads(self.threads)
        wall, cpu = time.perf_counter(), time.process_time()
        self.function()
        self.cpus.append(time.process_time() - cpu)
        self.walls.append(time.perf_counter() - wall)

    def result(self) -> Result:
        torch.set_num_threads(self.threads)
        median, peak = statistics.median, peak_memory(self.function)
        walls, cpus = median(self.walls), median(self.cpus)
        return Result(self.name, self.threads, walls, cpus, peak, len(self.walls))


def compare(
    benchmark: BenchmarkFixture,
    candidates: Mapping[str, Callable[[], object]],
    thread_counts: Sequence[int],
    note: Callable[[str], None],
) -> list[Result]:
    """Run all candidates in turn; pytest-benchmark's own table shows the first one.

    A candidate that raises `LeftOut` is left out, with a note of its reason.
    """
    _map_blocks_from(MAP_FROM)
    admitted = []
    for name, function in candidates.items():
        try:
            function()  # loads, allocates and chooses kernels
        except LeftOut as reason:
            note(f"{name} left out: {reason}")
        else:
            admitted += [Candidate(name, function, threads) for threads in thread_counts]
    for candidate in admitted:
        candidate.run()  # the first round, which also measures the cost of a round
    first, *others = admitted
    rounds = affordable_rounds(sum(candidate.walls[0] for candidate in admitted))

    def run_others() -> None:
        others.append(
            others.pop(0)
        )  # so that none always follows the same one, whose data is in cache
        for candidate in others:
            candidate.run()

    benchmark.pedantic(first.run, setup=run_others if others else None, rounds=rounds - 1)
    return [candidate.result() for candidate in admitted]


def affordable_rounds(seconds: float) -> int:
    """Return the number of rounds to run, where one round takes so many seconds."""
    fewest = FEWEST_LONG_ROUNDS if seconds > LONG_ROUND else FEWEST_ROUNDS
    return min(max(int(BUDGET / seconds), fewest), MOST_ROUNDS)


def peak_memory(function: Callable[[], object]) -> float | None:
    """Return the MiB that a call needs besides its inputs and results, of torch and of C++.

    That is the peak of resident memory during the call, less what was resident before it (the
    inputs), less the tensors it returns (the gradients of a head, which every candidate needs).
    """
    if sys.platform != "linux":
        return None
    gc.collect()
    # Free memory inside malloc would hide what the call needs, and fragmentation would add to it,
    # so each block of 64 KiB or more gets its own mapping during the call.
    ctypes.CDLL(None).malloc_trim(0)
    _map_blocks_from(64 << 10)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    before = _status("VmRSS")
    returned = function()
    peak = _status("VmHWM") - before - returned_bytes(returned) / 2**20
    _map_blocks_from(MAP_FROM)
    return max(peak, 0.0)


def returned_bytes(returned: object) -> int:
    """Return the bytes of tensors and arrays in a result; shared memory counts once."""
    return sum({start: size for start, size in _storages(returned)}.values())


def _storages(returned: object) -> Iterable[tuple[int, int]]:
    if isinstance(returned, torch.Tensor):
        storage = returned.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()
    elif isinstance(returned, np.ndarray):
        yield returned.ctypes.data, returned.nbytes
    elif isinstance(returned, (tuple, list)):
        for part in returned:
            yield from _storages(part)


def _map_blocks_from(size: int) -> None:
    if sys.platform == "linux":
        libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3  # as in malloc.h
        libc.mallopt(mmap_threshold, size)
        libc.mallopt(trim_threshold, TRIM_FROM)


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
