"""The head with the kernels of older CPUs.

The instruction set is selected once per process, so each set runs in a process of its own, together
with the roofline bound.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import record as records

import fairloss_ext

HEAD = Path(__file__).parent / "bench_margin_softmax_loss.py"


def pytest_generate_tests(metafunc):
    info = fairloss_ext.build_info()
    lower = info.built_isas[: info.built_isas.index(info.isa)]  # they come in ascending order
    requested = metafunc.config.getoption("--isa").split(",")
    metafunc.parametrize("isa", [isa for isa in lower if isa in requested])


def bench_head(benchmark, request, record, tmp_path, isa):
    call = [sys.executable, "-m", "pytest", f"{HEAD}::bench_forward_backward[128x512x10000]"]
    call += ["--only=ours,recompute,bound", f"--results={tmp_path / isa}"]
    call += [f"--threads={request.config.getoption('--threads')}"]
    environment = os.environ | {"FAIRLOSS_ISA": isa}

    def run():
        done = subprocess.run(call, env=environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr

    benchmark.pedantic(run, rounds=1)
    record.rows += records.read(tmp_path / f"{isa}.json").rows
