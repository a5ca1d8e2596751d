"""The trained backbone of a run."""

import os
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from fairloss.checks import check_file, expect
from fairloss.io import state as state_files
from fairloss.io.atomic import FormatError
from fairloss.io.digest import sha256
from fairloss.models import Architecture, build_model, infer_architecture
from fairloss.training.config import ModelConfig, TrainConfig
from fairloss.training.settings import load_config


def load_backbone(checkpoint: str | os.PathLike[str]) -> tuple[nn.Module, TrainConfig]:
    """Return the backbone of a run's `model.pt`, built as the `config.yaml` beside it says.

    Without a config.yaml, the weights may be those of an IResNet or MobileFaceNet of insightface:
    the configuration is then the default with the model, image size and channels of the weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, the weights do not fit the configuration, or there is
            none and they are of another network.
    """
    path = Path(checkpoint)
    check_file("checkpoint", path)
    settings = path.parent / "config.yaml"
    config = load_config(settings, [], TrainConfig) if settings.is_file() else _infer_config(path)
    model = backbone(config)
    load_weights("checkpoint", model, path, config)
    return model.eval(), config


def _infer_config(checkpoint: Path) -> TrainConfig:
    network = infer_architecture(read_weights("checkpoint", checkpoint))
    if network is None:
        raise ValueError(
            "checkpoint: expected a config.yaml beside it that says how to build the network, or "
            "the weights of insightface's MobileFaceNet, or of an IResNet of depth 18, 34, 50, 100 "
            f"or 200 for square images, got {checkpoint}"
        )
    model = ModelConfig(network.name, network.embedding_size)
    return TrainConfig(image_size=list(network.image_size), channels=network.channels, model=model)


def load_weights(setting: str, model: nn.Module, path: Path, config: TrainConfig) -> None:
    """Load the state dict of a backbone; that of a model in DistributedDataParallel will do.

    Raises:
        FileNotFoundError: naming `setting`: there is no such file.
        ValueError: naming `setting`: the file cannot be read, or its weights do not fit.
    """
    state = read_weights(setting, path)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        network = infer_architecture(state)
        raise ValueError(
            f"{setting}: expected the weights of {_architecture(config)}, such as a run's "
            f"model.pt, got {path}" + (f" of {network}" if network else "")
        ) from error


def _architecture(config: TrainConfig) -> Architecture:
    height, width = config.image_size
    return Architecture(
        config.model.name, config.model.embedding_size, (height, width), config.channels
    )


def read_weights(setting: str, path: Path) -> dict[str, Any]:
    """Return a backbone's state dict, without DistributedDataParallel's prefix of the names.

    Errors are those of `load_weights`.
    """
    state = read_state(setting, path)
    if all(isinstance(name, str) for name in state):
        consume_prefix_in_state_dict_if_present(state, "module.")
    return state


def read_state(setting: str, path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return the tensors of a state dict, on the CPU; errors as of `load_weights`."""
    check_file(setting, path)
    try:
        return state_files.read_state(path, mapped=mapped)
    except FormatError as error:
        raise ValueError(f"{setting}: {path} {error.problem}") from error


def checkpoint_digest(checkpoint: Path) -> str:
    """Return the SHA-256 of the file, which identifies the network of embeddings."""
    return sha256(checkpoint)


def load_identified(checkpoint: Path) -> tuple[nn.Module, TrainConfig, str]:
    """Return `load_backbone` and the digest of the file; ValueError if it changes meanwhile."""
    check_file("checkpoint", checkpoint)
    digest = checkpoint_digest(checkpoint)
    model, config = load_backbone(checkpoint)
    same = checkpoint_digest(checkpoint) == digest
    expect(same, "checkpoint", "a file that does not change while it is read", checkpoint)
    return model, config, digest


def backbone(config: TrainConfig) -> nn.Module:
    """Return a newly initialized backbone; ValueError naming the setting that does not fit."""
    try:
        return build_model(*_architecture(config))
    except ValueError as error:
        nested = str(error).startswith(("name:", "embedding_size:"))
        raise ValueError(f"model.{error}" if nested else str(error)) from error
