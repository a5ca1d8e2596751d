"""Time and memory of a call, on a GPU or, in a dry run, on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

ROUNDS, WARM_UP = 15, 3
PATIENCE = 10.0  # seconds for all calls of a candidate: a slow one runs in fewer rounds
Candidate = Callable[[], object]


@dataclass
class Time:
    seconds: float | None = None  # median
    peak_mib: float | None = None
    reason: str = ""  # why there is none


class Clock:
    def __init__(self, device: torch.device, rounds: int = ROUNDS) -> None:
        self.device, self.rounds = device, rounds

    def compare(self, candidates: Mapping[str, Candidate]) -> dict[str, Time]:
        """Measure in rounds that alternate between the candidates; one that fails has a reason."""
        times = {name: self._first(function) for name, function in candidates.items()}
        running = {name: f for name, f in candidates.items() if not times[name].reason}
        walls: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(self.rounds):
            for name, function in running.items():
                if sum(walls[name]) < PATIENCE:
                    walls[name].append(self.seconds(function))
        for name, seconds in walls.items():
            times[name].seconds = statistics.median(seconds)
        return times

    def seconds(self, function: Candidate) -> float:
        """Return the time of a call: between two events of the stream, on a CPU by the clock."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            function()
            return time.perf_counter() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3

    def _first(self, function: Candidate) -> Time:
        """Warm up, where failures appear, and measure the memory."""
        try:
            took = 0.0
            for _ in range(WARM_UP):
                if took < PATIENCE:
                    took += self.seconds(function)
            return Time(peak_mib=self._peak(function))
        except Exception as error:  # of any kind: the other candidates continue
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            lines = str(error).splitlines()
            return Time(reason=f"{type(error).__name__}: {lines[0] if lines else ''}")

    def _peak(self, function: Candidate) -> float | None:
        if self.device.type != "cuda":
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
