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
    load_weights("checkpoint", model, path, config)
    return model.eval(), config


def load_weights(setting: str, model: nn.Module, path: Path, config: TrainConfig) -> None:
    """Load the state dict of a backbone; that of a model in DistributedDataParallel will do.

    Raises:
        FileNotFoundError: naming `setting`: there is no such file.
        ValueError: naming `setting`: the file cannot be read, or its weights do not fit.
    """
    state = read_state(setting, path)
    try:
        consume_prefix_in_state_dict_if_present(state, "module.")
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        height, width = config.image_size
        raise ValueError(
            f"{setting}: expected the weights of a {config.model.name} for {config.channels} x "
            f"{height} x {width} images and embeddings of size {config.model.embedding_size}, such "
            f"as a run's model.pt, got {path}"
        ) from error


def read_state(setting: str, path: Path) -> dict[str, Any]:
    """Return the tensors of a state dict, on the CPU; errors as of `load_weights`."""
    check_file(setting, path)
    try:
        return state_files.read_state(path)
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
    height, width = config.image_size
    return build_model(
        config.model.name, config.model.embedding_size, (height, width), config.channels
    )
