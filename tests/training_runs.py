"""Small training runs, and comparisons of what they leave."""

from __future__ import annotations

from pathlib import Path

import torch

from fairloss.training import (
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
)

COUNTS = [8, 6, 4, 3, 2, 1]


def config(output: Path, **changes) -> TrainConfig:
    settings = {
        "data": "made up",
        "output": str(output),
        "epochs": 4,
        "batch_size": 8,
        "image_size": [32, 32],
        "channels": 1,
        "model": ModelConfig(embedding_size=16),
        "optimizer": OptimizerConfig(learning_rate=0.02),
    }
    return TrainConfig(**settings | changes)


def weights(run: Path) -> list[torch.Tensor]:
    parts = [torch.load(run / name, weights_only=True) for name in ("model.pt", "head.pt")]
    return [value for part in parts for value in part.values() if isinstance(value, torch.Tensor)]


def same(a: Path, b: Path) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def stop_after_each_epoch(monkeypatch, last: int | None = None) -> None:
    """Interrupt training as soon as an epoch is saved, the last one excepted."""
    original = RunFolder.save_checkpoint

    def save_and_stop(self, epoch, state):
        original(self, epoch, state)
        if epoch != last:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save_checkpoint", save_and_stop)
