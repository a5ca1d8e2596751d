"""Memory of `fairloss train` on a .rec of the size of CASIA-WebFace, for docs/data.md.

    python benchmarks/records_training.py casia.rec --results benchmarks/results/NAME.json

Writes the file of records_reading.py if it does not exist. Trains on it for 200 steps and then
stops the run as an interruption does. Memory is sampled: that of the process itself (its peak of
resident pages), and of it and its workers together, where pages that they share count once.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine
import torch
from records_reading import IDENTITIES, IMAGES, items

from fairloss.data import write_records
from fairloss.io.json import write_json

SAMPLE_EVERY = 0.2  # seconds between two samples of memory
TERMINATED = 143  # exit status of a run that SIGTERM stopped


def processes(pid: int) -> list[int]:
    """Return a process and all that it started, directly or not."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        children = [child for task in tasks for child in task.read_text("ascii").split()]
    except OSError:  # it has ended
        return []
    return [pid, *(p for child in children for p in processes(int(child)))]


def kib(file: Path, name: str) -> int:
    """Return an entry of a file of /proc; 0 where the process has ended."""
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(text.partition(f"{name}:")[2].split()[0]) if f"{name}:" in text else 0


def steps_of(output: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl for steps."""
    path = output / "metrics.jsonl"
    whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [line for line in map(json.loads, whole_lines) if line["event"] == "step"]


def train(given: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Train in a process of its own and return its peaks of memory in GiB, and its speed."""
    settings = {
        "data": given.data,
        "output": output,
        "epochs": 1,
        "batch_size": given.batch,
        "workers": given.workers,
        "memory_limit": given.memory_limit,
        "log_every": given.steps // 4,
    }
    command = [sys.executable, "-m", "fairloss", "train"]
    started, alone, together, lines = time.perf_counter(), 0, 0, []
    run = subprocess.Popen([*command, *(f"{name}={value}" for name, value in settings.items())])
    while run.poll() is None and (not lines or lines[-1]["step"] < given.steps):
        time.sleep(SAMPLE_EVERY)
        alone = max(alone, kib(Path(f"/proc/{run.pid}/status"), "VmHWM"))
        parts = [Path(f"/proc/{pid}/smaps_rollup") for pid in processes(run.pid)]
        together = max(together, sum(kib(part, "Pss") for part in parts))
        lines = steps_of(output)
    run.send_signal(signal.SIGTERM)
    status = run.wait()
    if status != TERMINATED:
        raise SystemExit(f"exit status: expected {TERMINATED}, got {status}")
    return {
        "process_gib": alone / 2**20,
        "with_workers_gib": together / 2**20,
        "steps": lines[-1]["step"],
        "seconds": time.perf_counter() - started,
        "samples_per_second": lines[-1]["samples_per_second"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a .rec file")
    parser.add_argument("--results", type=Path, help="a .json file")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--identities", type=int, default=IDENTITIES)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory-limit", type=float, default=8.0, help="GiB of decoded images")
    given = parser.parse_args()

    if not given.data.exists():
        write_records(given.data, items(given.images, given.identities))
    with tempfile.TemporaryDirectory() as folder:
        record = train(given, Path(folder, "run"))
    settings = {name: getattr(given, name) for name in ("images", "identities", "batch", "workers")}
    record = {"machine": machine.describe(torch.get_num_threads()), "settings": settings} | record
    record["file_gib"] = given.data.stat().st_size / 2**30
    print(json.dumps(record, indent=1))
    if given.results:
        write_json(given.results, record)


if __name__ == "__main__":
    main()
