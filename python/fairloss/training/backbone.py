"""The trained backbone of a run."""

import os
from pathlib import Path

import torch
from torch import nn

from fairloss.checks import check_file
from fairloss.io.digest import sha256
from fairloss.models import build_model
from fairloss.training.config import TrainConfig
from fairloss.training.settings import load_config


def load_backbone(checkpoint: str | os.PathLike[str]) -> tuple[nn.Module, TrainConfig]:
    """Return the backbone of a run's `model.pt`, built as the `config.yaml` beside it says.

    Raises:
        FileNotFoundError: there is no such file, or no config.yaml beside it.
        ValueError: the weights do not fit the configuration.
    """
    path = Path(checkpoint)
    check_file("checkpoint", path)
    if not (path.parent / "config.yaml").is_file():
        raise FileNotFoundError(f"checkpoint: no config.yaml beside {path} says how to build it")
    config = load_config(path.parent / "config.yaml", [], TrainConfig)
    model = backbone(config)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"checkpoint: {path} cannot be read: {error}") from error
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"checkpoint: {path} does not hold the weights of a {config.model.name} as config.yaml "
            "beside it describes it; give the run's model.pt"
        ) from error
    return model.eval(), config


def checkpoint_digest(checkpoint: Path) -> str:
    """Return the SHA-256 of the file, which identifies the network of embeddings."""
    return sha256(checkpoint)


def backbone(config: TrainConfig) -> nn.Module:
    """Return a newly initialized backbone; ValueError naming the setting that does not fit."""
    height, width = config.image_size
    return build_model(
        config.model.name, config.model.embedding_size, (height, width), config.channels
    )
