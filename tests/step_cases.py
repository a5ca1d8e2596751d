"""Small trainers for tests of one step, with a backbone that has no batch statistics."""

from __future__ import annotations

from itertools import pairwise

import torch
from synthetic import faces
from torch import nn

from fairloss import heads
from fairloss.training import OptimizerConfig, Trainer

CLASSES, DIM, BATCH = 8, 16, 128


def group_norm_model() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width, wider in pairwise((1, 8, 16)):
        layers += [nn.Conv2d(width, wider, 3, 2, 1), nn.GroupNorm(4, wider), nn.PReLU(wider)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 4 * 4, DIM))


def trainer(head: type[heads.Head] = heads.CosFace, batches: int = 1, **options) -> Trainer:
    """A trainer with `batches` batches of 128 images of 8 classes an epoch."""
    torch.manual_seed(1)
    images = faces([BATCH * batches // CLASSES] * CLASSES, size=16)
    made = head(CLASSES, DIM)
    settings = {"batch_size": BATCH, "seed": 0} | options
    return Trainer(
        settings.pop("model", None) or group_norm_model(),
        made,
        images,
        settings.pop("optimizer", OptimizerConfig(learning_rate=0.02)),
        **settings,
    )


def losses(made: Trainer, epochs: int) -> list[float]:
    return [made.run_epoch(epoch).loss for epoch in range(1, epochs + 1)]


def gradients(made: Trainer) -> torch.Tensor:
    parameters = (*made.model.parameters(), *made.head.parameters())
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def weights(made: Trainer) -> torch.Tensor:
    parameters = (*made.model.parameters(), *made.head.parameters())
    return torch.cat([p.detach().flatten() for p in parameters])
