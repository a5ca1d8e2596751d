"""A small pre-trained run, and chains that collect experience from it."""

from __future__ import annotations

from synthetic import faces

from fairloss.experience import CollectConfig
from fairloss.experience.chain import Chain
from fairloss.experience.collect import chain_config
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
    train,
)
from fairloss.training.build import build_trainer

COUNTS = [9, 8, 6, 5, 4, 3, 2, 2, 1]


def train_small(output):
    """Train on 40 images for 3 epochs of 2 steps, at a margin of the grid."""
    config = TrainConfig(
        data="made up",
        output=str(output),
        epochs=3,
        batch_size=20,
        image_size=[32, 32],
        channels=1,
        model=ModelConfig(embedding_size=16),
        head=HeadConfig(name="ArcFace", margin=0.35),
        optimizer=OptimizerConfig(learning_rate=0.02),
    )
    return train(config, faces(COUNTS))


def settings(pretrained, output, **changes):
    base = {"run": str(pretrained), "output": str(output), "epochs": 6, "min_cell": 1}
    return CollectConfig(**base | changes)


def chain(pretrained, output, seed=0, layout=(), **changes):
    config = chain_config(settings(pretrained, output, **changes), seed)
    folder = RunFolder(config.output)
    return Chain(build_trainer(config, faces(COUNTS), folder), 1, seed, *layout)
