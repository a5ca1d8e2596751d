"""Memory and time of training a million classes in one process, for docs/sampled-classes.md.

    python benchmarks/million_classes.py benchmarks/results/million-classes.json

A 512-dimensional IResNet-18, FairLoss and the trainer of `fairloss train`, on images of 112 x 112.
Two processes, so that each has the memory of its own: one builds the trainer, takes some steps and
writes a checkpoint; the other builds it again, resumes from the checkpoint and takes one step. A
class has one image, and all classes the same one, which takes no memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
import torch

from fairloss.agent import Policy
from fairloss.data import FaceImages
from fairloss.heads import FairLoss
from fairloss.io.json import write_json
from fairloss.io.state import read_state, write_state
from fairloss.models import IResNet
from fairloss.training import OptimizerConfig, Trainer

DIM = 512
SIDE = 112


class EnoughSteps(Exception):
    """Ends an epoch early."""


def build(given: argparse.Namespace) -> Trainer:
    image = torch.randint(256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    identities = [f"id{c}" for c in range(given.classes)]
    names = [f"{identity}/0.jpg" for identity in identities]
    pixels = image.expand(given.classes, -1, -1, -1)
    faces = FaceImages(pixels, torch.arange(given.classes), identities, names)
    policy = Policy.constant("keep")
    head = FairLoss(given.classes, DIM, policy=policy, sample_rate=given.rate)
    model = IResNet(given.depth, DIM, (SIDE, SIDE), 3)
    return Trainer(model, head, faces, OptimizerConfig(), batch_size=given.batch, seed=0)


def take_steps(trainer: Trainer, steps: int) -> list[float]:
    """Return the seconds of each step."""
    seconds, last = [], time.perf_counter()

    def progress(step: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
        if step == steps:
            raise EnoughSteps

    try:
        trainer.run_epoch(1, progress=progress)
    except EnoughSteps:
        return seconds
    raise ValueError(f"steps: expected fewer than {trainer.steps_per_epoch}, got {steps}")


@contextmanager
def peak_of(record: dict[str, Any], name: str) -> Iterator[None]:
    """Record the peak of resident memory, in GB, and the seconds."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets VmHWM
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    kib = int(status.partition("VmHWM:")[2].split()[0])
    record[name] = {"peak_gb": kib * 1024 / 1e9, "seconds": seconds}
    print(name, record[name], flush=True)


def train(given: argparse.Namespace, path: Path) -> dict[str, Any]:
    record: dict[str, Any] = {}
    with peak_of(record, "build"):
        trainer = build(given)
    with peak_of(record, "steps"):
        seconds = take_steps(trainer, given.steps)
    record["steps"]["seconds"] = seconds
    with peak_of(record, "checkpoint"):
        write_state(path, trainer.state())
    record["checkpoint"]["file_gb"] = path.stat().st_size / 1e9
    return record


def resume(given: argparse.Namespace, path: Path) -> dict[str, Any]:
    record: dict[str, Any] = {}
    with peak_of(record, "resume"):
        trainer = build(given)
        trainer.restore(read_state(path))
    with peak_of(record, "step after"):
        take_steps(trainer, 1)
    return record


def in_new_process(
    function: Callable[[argparse.Namespace, Path], dict[str, Any]], *arguments: Any
) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a .json file")
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--depth", type=int, default=18, help="of the IResNet")
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=given.results.parent) as folder:
        path = Path(folder, "checkpoint.pt")
        record = in_new_process(train, given, path) | in_new_process(resume, given, path)
    settings = {name: value for name, value in vars(given).items() if name != "results"}
    description = machine.describe(torch.get_num_threads())
    write_json(given.results, {"machine": description, "settings": settings} | record)


if __name__ == "__main__":
    main()
