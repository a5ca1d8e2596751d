"""Training runs on several ranks of gloo, with a backbone that has no batch statistics."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
import torch
from synthetic import faces
from torch import Tensor, distributed, nn
from torch.multiprocessing import start_processes

from fairloss.agent import Policy
from fairloss.experience import CollectConfig, Experience, collect
from fairloss.ranks import rank_number
from fairloss.threads import torch_threads
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
    train,
)
from fairloss.training.epochs import Epochs

COUNTS = [9, 7, 6, 5, 4, 3, 3, 2, 2, 2, 1]  # 44 images of 11 identities
SIZE, DIM, BATCH, STEPS = 8, 8, 11, 4  # STEPS of an epoch


class Backbone(nn.Sequential):
    """A network of images of 8 x 8 in which no image changes the embedding of another."""

    def __init__(self, config: TrainConfig) -> None:
        layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.PReLU(8), nn.Flatten()]
        super().__init__(*layers, nn.Linear(8 * 4 * 4, DIM))


class DropoutBackbone(Backbone):
    """The network with dropout before its last layer."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.insert(4, nn.Dropout(0.3))


class OverflowingBackbone(Backbone):
    """The network, of which one embedding of rank 1 in the third training pass is infinite."""

    passes = -1  # one is made before the first step

    def forward(self, images: Tensor) -> Tensor:
        embeddings = super().forward(images)
        self.passes += self.training
        if self.passes == 3 and rank_number() == 1:
            embeddings = embeddings + torch.tensor([torch.inf] + [0.0] * (DIM - 1))
        return embeddings


def settings(output: Path, **changes) -> TrainConfig:
    given = {
        "data": "made up",
        "output": str(output),
        "epochs": 2,
        "batch_size": BATCH,
        "image_size": [SIZE, SIZE],
        "channels": 1,
        "log_every": 1,
        "model": ModelConfig(embedding_size=DIM),
        "head": HeadConfig(name="CosFace"),
        "optimizer": OptimizerConfig(learning_rate=0.02),
    }
    return TrainConfig(**given | changes)


def fair_loss(folder: Path) -> HeadConfig:
    """Return settings of Fair Loss with a policy of random actions."""
    Policy.random(seed=3).save(folder / "policy.json")
    return HeadConfig(name="FairLoss", policy=str(folder / "policy.json"))


def run(
    config: TrainConfig | CollectConfig,
    backbone: Callable[[TrainConfig], nn.Module] = Backbone,
    progress: Callable[[str, int, int], object] | None = None,
) -> Path | Experience:
    """Train or collect in this process, on the ranks of the default group if there is one."""
    images = faces(COUNTS, size=SIZE) if config.data in ("made up", None) else None
    function = train if isinstance(config, TrainConfig) else collect
    with mock.patch("fairloss.training.build.backbone", backbone), torch_threads(1):
        return function(config, images, progress)


def stop_at(step: int) -> Callable[[str, int, int], None]:
    """Return a callback for progress that sends SIGTERM in a step of the run."""

    def progress(label: str, done: int, total: int) -> None:
        if label.startswith("train") and done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


def late_iterdir(folder: Path) -> Iterator[Path]:
    """List a folder that shows what another rank writes last too late, as over NFS."""
    return (folder / name for name in os.listdir(folder) if name != ".metadata")


@contextmanager
def of_other_ranks() -> Iterator[None]:
    """Let a rank see files late, and read no result, which has the weights of all classes."""
    only_first = AssertionError("the first rank alone reads results")
    with (
        mock.patch.object(Path, "iterdir", late_iterdir),
        mock.patch("fairloss.training.resume.read_state", side_effect=only_first),
    ):
        yield


def work(rank: int, world: int, store: str, jobs: list, progress: object = None) -> None:
    """Train as one of the ranks."""
    torch.set_num_threads(1)
    timeout = timedelta(seconds=100)
    group = {"init_method": f"file://{store}", "rank": rank, "world_size": world}
    distributed.init_process_group("gloo", timeout=timeout, **group)
    with of_other_ranks() if rank > 0 else nullcontext():
        for config, *backbone in jobs:
            run(config, *backbone, progress=progress)
    distributed.destroy_process_group()


def stopped_work(rank: int, world: int, store: str, jobs: list, step: int) -> None:
    """Train as one of the ranks until rank 0 has a signal."""
    with pytest.raises(SystemExit, match="143"):
        work(rank, world, store, jobs, stop_at(step))


def signaled_work(rank: int, world: int, store: str, jobs: list, name: str, signaled: int) -> None:
    """Train as one of the ranks, one of which has a signal as it calls this method of `Epochs`."""
    original = getattr(Epochs, name)

    def method(epochs: Epochs, *arguments: object) -> object:
        if rank == signaled:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(epochs, *arguments)

    with mock.patch.object(Epochs, name, method), pytest.raises(SystemExit, match="143"):
        work(rank, world, store, jobs)


def start(function, world: int, store: Path, *arguments):
    """Start ranks without waiting for them."""
    multiprocessing.set_forkserver_preload(["rank_runs", "torch.distributed.checkpoint"])
    arguments = (world, str(store), *arguments)
    return start_processes(function, arguments, world, join=False, start_method="forkserver")


def spawn(world: int, *jobs: tuple, stop: int | None = None) -> None:
    """Train some runs, one after the other, on new ranks, or one until it is stopped."""
    with tempfile.TemporaryDirectory() as folder:
        function, more = (work, ()) if stop is None else (stopped_work, (stop,))
        ranks = start(function, world, Path(folder) / "store", list(jobs), *more)
        while not ranks.join():
            pass


def losses(output: Path) -> list[float]:
    """Return the loss of each step, None of one that was left out."""
    return [line["loss"] for line in RunFolder(output).metrics() if line["event"] == "step"]


def difference(output: Path, expected: Path) -> float:
    """Return the largest relative difference of a loss."""
    pairs = zip(losses(output), losses(expected), strict=True)
    return max(0 if a == b else abs(a - b) / abs(b) for a, b in pairs)


def margins(output: Path, epochs: int) -> list[Tensor]:
    """Return the margins after each epoch, of checkpoints of either kind."""
    states = []
    for epoch in range(1, epochs + 1):
        path = output / f"checkpoint-{epoch:04d}"
        path = path / "state.pt" if path.is_dir() else path.with_suffix(".pt")
        states.append(torch.load(path, weights_only=True)["head"]["margins"])
    return states
