"""Memory and time of training a million classes in one process, for docs/sampled-classes.md.

    python benchmarks/million_classes.py benchmarks/results/million-classes.json

FairLoss with `RowSGD` on random embeddings of 512 numbers; then an IResNet-18 before it in the
trainer of `fairloss train`, on images of 112 x 112, at several batch sizes. Each part has a process
and so a memory of its own: one builds the trainer, takes some steps and writes a checkpoint; one
builds it again, resumes from the checkpoint and takes a step. A class has one image, and all
classes the same one, which takes no memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
from fairloss.optim import RowSGD
from fairloss.training import OptimizerConfig, Trainer

DIM = 512
SIDE = 112


class EnoughSteps(Exception):
    """Ends an epoch early."""


def make_head(given: argparse.Namespace) -> FairLoss:
    return FairLoss(given.classes, DIM, policy=Policy.constant("keep"), sample_rate=given.rate)


def make_trainer(given: argparse.Namespace, batch: int) -> Trainer:
    image = torch.randint(256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    identities = [f"id{c}" for c in range(given.classes)]
    names = [f"{identity}/0.jpg" for identity in identities]
    pixels = image.expand(given.classes, -1, -1, -1)
    faces = FaceImages(pixels, torch.arange(given.classes), identities, names)
    model = IResNet(18, DIM, (SIDE, SIDE), 3)
    options = OptimizerConfig()
    return Trainer(model, make_head(given), faces, options, batch_size=batch, seed=0)


def take_steps(trainer: Trainer, steps: int) -> None:
    """Take the first steps of an epoch."""

    def progress(step: int, total: int) -> None:
        if step == steps:
            raise EnoughSteps

    with suppress(EnoughSteps):
        trainer.run_epoch(1, progress=progress)


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


def head_alone(given: argparse.Namespace) -> dict[str, Any]:
    record: dict[str, Any] = {"batch": max(given.batches)}
    head = make_head(given)
    optimizer = RowSGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    with peak_of(record, "steps"):
        for _ in range(given.steps):
            embeddings = torch.randn(record["batch"], DIM, requires_grad=True)
            labels = torch.randint(given.classes, (record["batch"],))
            optimizer.zero_grad()
            head(embeddings, labels).backward()
            optimizer.step()
    return record


def train(given: argparse.Namespace, batch: int, path: Path) -> dict[str, Any]:
    record: dict[str, Any] = {"batch": batch}
    with peak_of(record, "build"):
        trainer = make_trainer(given, batch)
    with peak_of(record, "steps"):
        take_steps(trainer, given.steps)
    with peak_of(record, "checkpoint"):
        write_state(path, trainer.state())
    record["checkpoint"]["file_gb"] = path.stat().st_size / 1e9
    return record


def resume(given: argparse.Namespace, batch: int, path: Path) -> dict[str, Any]:
    record: dict[str, Any] = {}
    with peak_of(record, "resume"):
        trainer = make_trainer(given, batch)
        trainer.restore(read_state(path))
    with peak_of(record, "step_after"):
        take_steps(trainer, 1)
    return record


def in_new_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a .json file")
    parser.add_argument("--classes", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()

    record: dict[str, Any] = {
        "machine": machine.describe(torch.get_num_threads()),
        "settings": {"classes": given.classes, "rate": given.rate, "steps": given.steps},
        "head": in_new_process(head_alone, given),
        "trainer": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        for batch in given.batches:
            run = in_new_process(train, given, batch, path)
            record["trainer"].append(run | in_new_process(resume, given, batch, path))
            write_json(given.results, record)


if __name__ == "__main__":
    main()
