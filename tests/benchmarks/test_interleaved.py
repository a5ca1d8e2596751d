from __future__ import annotations

import sys

import interleaved
import machine
import numpy as np
import pytest
import torch
from interleaved import LeftOut


class Pedantic:
    """The one method of pytest-benchmark's fixture that a comparison uses."""

    def pedantic(self, function, setup, rounds):
        for _ in range(rounds):
            if setup:
                setup()
            function()


def test_rounds_follow_the_cost():
    rounds = [interleaved.affordable_rounds(seconds) for seconds in (0.01, 1.0, 20.0, 60.0)]
    assert rounds == [15, 10, 5, 3]


def test_candidates_take_turns_and_may_be_left_out():
    calls, notes = [], []

    def absent():
        raise LeftOut("not here")

    names = ("ours", "bound", "eager")
    candidates = {name: lambda name=name: calls.append(name) for name in names}
    results = interleaved.compare(Pedantic(), candidates | {"absent": absent}, [1], notes.append)
    assert [(result.candidate, result.rounds) for result in results] == [(n, 15) for n in names]
    assert notes == ["absent left out: not here"]
    laps = [set(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert laps == [set(names)] * (len(calls) // 3)


def test_each_thread_count_is_in_force():
    seen = []
    before = torch.get_num_threads()
    try:
        candidates = {"ours": lambda: seen.append(torch.get_num_threads())}
        results = interleaved.compare(Pedantic(), candidates, (1, 2), print)
    finally:
        torch.set_num_threads(before)
    assert [result.threads for result in results] == [1, 2]
    assert seen.count(1) >= 15 <= seen.count(2)


def test_shared_memory_counts_once():
    tensor = torch.zeros(100)
    parts = (tensor, tensor.view(10, 10), [np.zeros(7, dtype=np.int64), None, 3.0])
    assert interleaved.returned_bytes(parts) == 400 + 56


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_peak_memory_leaves_out_what_is_returned():
    floats = 4 << 20  # 16 MiB

    def work():
        scratch = torch.ones(2 * floats)
        return scratch[:floats].clone()

    assert interleaved.peak_memory(work) == pytest.approx(32, abs=2)
    assert interleaved.peak_memory(lambda: torch.ones(floats)) == pytest.approx(0, abs=2)


def test_the_cpu_model_is_read_from_cpuinfo():
    text = "model name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2 avx512f amx_tile_not\n"
    assert machine.cpu_model(text) == "Some CPU @ 2GHz"
    assert machine.extensions(text) == ["AVX2", "AVX-512"]
    assert machine.cpu_model("") == ""
