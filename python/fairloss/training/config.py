"""The configuration of a run: dataclasses, YAML files and `key=value` overrides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch

RESUME = ("auto", "never")
DEVICES = ("auto", "cpu", "cuda")


@dataclass
class ModelConfig:
    name: str = "small_cnn"  # small_cnn, iresnet18, iresnet34, iresnet50, iresnet100
    embedding_size: int = 128


@dataclass
class HeadConfig:
    name: str = "FairLoss"  # a name of fairloss.heads.HEADS
    kind: str | None = None  # FairLoss, MVSoftmax, ElasticFace: arc (margins in radians) or cos
    margin: float | None = None  # FairLoss: the initial one (0.35); default: the head's own
    scale: float | None = None  # default: 32, where the head has one
    policy: str | None = None  # FairLoss only: a policy.json; default: the package's
    sample_rate: float = 1.0  # of the classes outside the batch, the part a step compares with
    options: dict[str, Any] = field(default_factory=dict)  # more arguments of the head
    loss: str | None = None  # loss.json of search-loss: gives name, scale and options


@dataclass
class OptimizerConfig:
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_at: list[float] = field(default_factory=lambda: [0.625, 0.875])  # fraction of the epochs
    clip: float = 5.0  # largest norm of the backbone's gradient, as in insightface


@dataclass
class TrainConfig:
    data: str = "???"  # folder of identity/image files, or of arrays
    output: str = "???"  # run folder
    epochs: int = 32
    seed: int = 0
    resume: str = "auto"  # auto: continue a run found in output; never: refuse to touch it
    batch_size: int = 64
    image_size: list[int] = field(default_factory=lambda: [112, 112])  # height, width
    channels: int = 3  # 3: RGB, 1: grey
    augment: bool = True  # random mirror and shift
    device: str = "auto"  # cpu, cuda, or auto: a GPU where torch finds one
    init: str | None = None  # run folder whose backbone and class weights to start from
    tensorboard: bool = False  # also write scalars to output/tensorboard
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def check(self) -> None:
        """ValueError naming the first setting that is out of range."""
        check_numbers(
            positive={
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "optimizer.learning_rate": self.optimizer.learning_rate,
                "optimizer.clip": self.optimizer.clip,
            },
            natural={"seed": self.seed, "optimizer.weight_decay": self.optimizer.weight_decay},
        )
        if not 0 <= self.optimizer.momentum < 1:
            raise ValueError(
                f"optimizer.momentum: got {self.optimizer.momentum}, allowed is [0, 1)"
            )
        if self.resume not in RESUME:
            raise ValueError(f"resume: got {self.resume!r}, allowed are {', '.join(RESUME)}")
        check_device(self.device)
        if len(self.image_size) != 2:
            raise ValueError(f"image_size: got {self.image_size}, expected [height, width]")
        if sorted(self.optimizer.decay_at) != list(self.optimizer.decay_at):
            raise ValueError(f"optimizer.decay_at: got {self.optimizer.decay_at}, must ascend")


def check_device(name: str) -> None:
    """ValueError if there is no such setting: whether the device is here shows when it is used."""
    if name not in DEVICES:
        raise ValueError(f"device: got {name!r}, allowed are {', '.join(DEVICES)}")


def device_of(name: str) -> torch.device:
    """The device that a setting names; ValueError if this machine has none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda, but torch finds no GPU; see `fairloss doctor`")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def check_numbers(positive: dict[str, float], natural: dict[str, float]) -> None:
    """ValueError naming the first setting that is not above 0, or not 0 or more."""
    for name, number in positive.items():
        if not number > 0:
            raise ValueError(f"{name}: got {number}, expected a positive number")
    for name, number in natural.items():
        if not number >= 0:
            raise ValueError(f"{name}: got {number}, expected 0 or more")


class _Checked(Protocol):
    def check(self) -> None: ...


Config = TypeVar("Config", bound=_Checked)


def load_config(
    path: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    schema: type[Config],
) -> Config:
    """A configuration from its defaults, then a YAML file, then `key=value` overrides.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key, a value of the wrong type or out of range, a missing key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    loaded = OmegaConf.create() if path is None else _read_yaml(Path(path))
    wrong = [text for text in overrides if "=" not in text]
    if wrong:
        raise ValueError(f"{wrong[0]!r}: settings are given as key=value, such as epochs=10")
    try:
        node = OmegaConf.structured(schema)
        node = OmegaConf.merge(node, loaded, OmegaConf.from_dotlist(list(overrides)))
        missing = sorted(OmegaConf.missing_keys(node))
        config = None if missing else cast(Config, OmegaConf.to_object(node))
    except OmegaConfBaseException as error:
        raise ValueError(_explained(error, schema)) from error
    if config is None:
        raise ValueError(f"{missing[0]}: must be given, such as {missing[0]}=FOLDER")
    config.check()
    return config


def _read_yaml(path: Path) -> Any:
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    if not path.is_file():
        raise FileNotFoundError(f"config: {path} does not exist")
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is not YAML: {error}") from error
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"config: {path} holds no settings of the form `key: value`")
    return loaded


def as_yaml(config: Any) -> str:
    """The YAML text of a configuration."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def changes(path: Path, config: Any, free: Sequence[str]) -> str:
    """How `config` differs from the one saved in `path`, the `free` settings aside; "" if not."""
    before, now = asdict(load_config(path, [], type(config))), asdict(config)
    changed = [key for key in now if now[key] != before[key] and key not in free]
    return "; ".join(f"{key} was {before[key]}, is {now[key]}" for key in changed)


def _explained(error: Exception, schema: type[Any]) -> str:
    key = getattr(error, "full_key", None) or "configuration"
    first_line = str(error).splitlines()[0]
    names = ", ".join(f.name for f in fields(schema))
    return f"{key}: {first_line} (settings: {names})"
