"""Training runs on several ranks of gloo, with a backbone that has no batch statistics."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from unittest import mock

import torch
from synthetic import faces
from torch import distributed, multiprocessing, nn

from fairloss.agent import Policy
from fairloss.training import HeadConfig, ModelConfig, OptimizerConfig, RunFolder, TrainConfig, train

COUNTS = [9, 7, 6, 5, 4, 3, 3, 2, 2, 2, 1]  # 44 images of 11 identities
SIZE, DIM, BATCH = 8, 8, 11
STEPS = 4  # of an epoch


def group_norm_model(config: TrainConfig) -> nn.Module:
    """Return a backbone of images of 8 x 8 in which no image changes another's embedding."""
    layers = [nn.Conv2d(1, 8, 3, 2, 1), nn.GroupNorm(4, 8), nn.PReLU(8), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 * 4 * 4, DIM))


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
    """Return settings of Fair Loss with a policy whose action depends on the state."""
    policy = Policy.random(seed=3)
    policy.save(folder / "policy.json")
    return HeadConfig(name="FairLoss", policy=str(folder / "policy.json"))


def run(config: TrainConfig) -> Path:
    """Train in this process, on the ranks of the default group if there is one."""
    images = faces(COUNTS, size=SIZE) if config.data == "made up" else None
    with mock.patch("fairloss.training.build.backbone", group_norm_model):
        return train(config, images)


def work(rank: int, world: int, store: str, configs: list[TrainConfig]) -> None:
    """Train as one of the ranks."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=100),
    )
    for config in configs:
        run(config)
    distributed.destroy_process_group()


def spawn(world: int, *configs: TrainConfig) -> None:
    """Train some runs, one after the other, on new ranks."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, (world, f"{folder}/store", configs), nprocs=world)


def losses(output: Path) -> list[float]:
    """Return the loss of each step."""
    return [line["loss"] for line in RunFolder(output).metrics() if line["event"] == "step"]


def head(output: Path) -> dict[str, torch.Tensor]:
    return torch.load(output / "head.pt", weights_only=True)
