from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import records_training


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_and_their_memory_are_read():
    wait = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert {os.getpid(), wait.pid} <= set(records_training.processes(os.getpid()))
    assert records_training.kib(Path(f"/proc/{os.getpid()}/smaps_rollup"), "Pss") > 10_000
    wait.communicate(b"\n")
    assert records_training.kib(Path(f"/proc/{wait.pid}/smaps_rollup"), "Pss") == 0


def test_lines_that_are_being_written_wait(tmp_path):
    assert records_training.steps_of(tmp_path) == []
    lines = '{"event": "run"}\n{"event": "step", "step": 5}\n{"event": "st'
    (tmp_path / "metrics.jsonl").write_text(lines, encoding="utf-8")
    assert records_training.steps_of(tmp_path) == [{"event": "step", "step": 5}]
