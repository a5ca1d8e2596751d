"""The settings of a run and their ranges."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch

from fairloss.checks import check_choice, check_number, expect
from fairloss.optim import (
    OPTIMIZERS,
    check_optimizer,
    polynomial_factor,
    step_factor,
    warmup_factor,
)

RESUME = ("auto", "previous", "never")
DEVICES = ("auto", "cpu", "cuda")
STATISTICS = ("when_needed", "always")
SAMPLERS = ("shuffle", "balanced", "per_class")
PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("step", "polynomial")


def positive(default: float) -> Any:
    """Return a field for a number above 0."""
    return number(default, 0, open_low=True)


def number(default: float, low: float, **bounds: Any) -> Any:
    """Return a field for a number in a range; `bounds` are those of `check_number`."""
    return field(default=default, metadata={"range": {"low": low, **bounds}})


def path(default: str | None = "???") -> Any:
    """Return a field for a folder or file, which by default must be given."""
    return field(default=default, metadata={"path": True})


def choice(default: str, allowed: Sequence[str]) -> Any:
    """Return a field for one of the `allowed` values."""
    return field(default=default, metadata={"choices": allowed})


@dataclass
class ModelConfig:
    """The backbone."""

    name: str = "small_cnn"  # of fairloss.models.MODEL_NAMES, or timm:NAME, such as timm:resnet18
    embedding_size: int = number(128, 1, high=2**20)


@dataclass
class HeadConfig:
    """The loss."""

    # A name of fairloss.heads.HEADS. Of the published fixed margins, CosFace's 0.35 (arXiv
    # 1801.05599 at scale 30, 1801.09414 at 64) is one that `fairloss collect` can start from.
    name: str = "CosFace"
    kind: str | None = None  # FairLoss, MVSoftmax, ElasticFace: arc (margins in radians) or cos
    margin: float | None = None  # FairLoss: the initial one (0.35); default: the head's own
    scale: float | None = None  # default: 32, where the head has one
    policy: str | None = path(None)  # FairLoss only, and required: a policy.json
    margins: str | None = path(None)  # PerClass only: JSON {identity: margin}, or .npy, one a class
    sample_rate: float = 1.0  # fraction of the classes outside the batch that a step compares with
    options: dict[str, Any] = field(default_factory=dict)  # more arguments of the head
    loss: str | None = path(None)  # loss.json of search-loss: gives name, scale and options

    @property
    def row_sparse(self) -> bool:
        """True if gradients of the class weights are row-sparse."""
        return self.sample_rate < 1 and self.options.get("sparse", True) is not False


@dataclass
class OptimizerConfig:
    """The optimizer and the schedule of its learning rate."""

    learning_rate: float = positive(0.1)
    momentum: float = number(0.9, 0, high=1, open_high=True)  # of sgd; adamw has betas 0.9, 0.999
    weight_decay: float = number(5e-4, 0)
    # fractions of the epochs, after each of which the step schedule divides the rate by 10
    decay_at: list[float] = field(
        default_factory=lambda: [0.625, 0.875], metadata={"range": {"low": 0}}
    )
    clip: float = positive(5.0)  # largest norm of the backbone's gradient, as in insightface
    name: str = choice("sgd", OPTIMIZERS)
    schedule: str = choice("step", SCHEDULES)  # polynomial: falls with every step, as insightface's
    power: float = positive(2.0)  # of the polynomial
    warmup: float = number(0.0, 0)  # epochs in which the rate rises to learning_rate


@dataclass
class TrainConfig:
    """A run of `fairloss train`."""

    data: str = path()  # folder of identity/image files, or of arrays
    output: str = path()  # run folder
    epochs: int = positive(32)
    seed: int = number(0, 0)
    # auto: resume a run found in output; previous: from an earlier checkpoint where the newest is
    # damaged; never: refuse a run.
    resume: str = choice("auto", RESUME)
    batch_size: int = positive(64)
    image_size: list[int] = field(default_factory=lambda: [112, 112])  # height, width
    channels: int = 3  # 3: RGB, 1: gray
    augment: bool = True  # random mirror and shift
    sampler: str = choice("shuffle", SAMPLERS)  # order of the images; see docs/training.md
    images_per_class: int = number(4, 1)  # in a batch of the sampler per_class
    memory_limit: float = number(8.0, 0)  # GiB of decoded images kept in memory; more: decode anew
    workers: int = number(2, 0)  # processes that decode images which are not in memory
    precision: str = choice("float32", PRECISIONS)  # of the backbone; float16 with a loss scale
    accumulate: int = number(1, 1)  # micro-batches that a batch is cut into
    device: str = choice("auto", DEVICES)  # cpu, cuda, or auto: a GPU where torch finds one
    init: str | None = path(None)  # run folder whose backbone and class weights to start from
    init_backbone: str | None = path(None)  # model.pt to start the backbone from, of any identities
    # After each epoch: for a head that needs them, or always, for the angles in metrics.jsonl.
    statistics: str = choice("when_needed", STATISTICS)
    tensorboard: bool = False  # also write scalars to output/tensorboard
    checkpoint_every: int = number(0, 0)  # steps; 0: after each epoch alone
    keep_checkpoints: int = number(2, 1)  # of the newest
    # .bin verification sets, to log the accuracy of
    evaluate: list[str] = field(default_factory=list, metadata={"path": True})
    evaluate_every: int = number(1, 1)  # epochs; and after the last
    log_every: int = number(50, 0)  # steps; 0: none
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        check_settings(self)
        in_utf8 = self.output == self.output.encode(errors="ignore").decode()
        served = in_utf8 or not self.tensorboard
        expect(served, "output", "a path in UTF-8, as tensorboard requires", repr(self.output))
        both = self.init is not None and self.init_backbone is not None
        expect(not both, "init_backbone", "none beside init, which has a backbone", "both")
        expect(len(self.image_size) == 2, "image_size", "[height, width]", self.image_size)
        decay_at = list(self.optimizer.decay_at)
        expect(decay_at == sorted(decay_at), "optimizer.decay_at", "ascending fractions", decay_at)
        self._check_steps()

    def _check_steps(self) -> None:
        optimizer = self.optimizer
        check_optimizer(optimizer.name, self.head.row_sparse)
        expected = f"fewer epochs than epochs={self.epochs}"
        expect(optimizer.warmup < self.epochs, "optimizer.warmup", expected, optimizer.warmup)
        largest = f"at most batch_size={self.batch_size}"
        expect(self.accumulate <= self.batch_size, "accumulate", largest, self.accumulate)
        divides = self.sampler != "per_class" or self.batch_size % self.images_per_class == 0
        expected = f"a divisor of batch_size={self.batch_size}"
        expect(divides, "images_per_class", expected, self.images_per_class)


def check_settings(config: Any) -> None:
    """Raise ValueError naming the first setting outside the range or choices of its field.

    Every number must be finite.
    """
    for name, value, metadata in _settings("", config, {}):
        if "range" in metadata or isinstance(value, float):
            check_number(name, value, **metadata.get("range", {}))
        if "choices" in metadata:
            check_choice(name, value, metadata["choices"])


def _settings(name: str, value: Any, metadata: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and metadata of every setting in a configuration, a list or a dict."""
    prefix = name and f"{name}."
    if is_dataclass(value):
        for each in fields(value):
            yield from _settings(prefix + each.name, getattr(value, each.name), each.metadata)
    elif isinstance(value, (list, tuple)):
        for i, entry in enumerate(value):
            yield from _settings(f"{name}[{i}]", entry, metadata)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _settings(f"{prefix}{key}", entry, metadata)
    else:
        yield name, value, metadata


def learning_rate_at(
    config: OptimizerConfig, epochs: int, steps_per_epoch: int, step: int
) -> float:
    """Return the learning rate of a step of a run, numbered from 0."""
    warmup = config.warmup * steps_per_epoch
    if config.schedule == "step":
        factor = step_factor(config.decay_at, epochs, step // steps_per_epoch)
    else:
        factor = polynomial_factor(config.power, step, epochs * steps_per_epoch, warmup)
    return config.learning_rate * (factor * warmup_factor(step, warmup))


def check_device(name: str) -> None:
    """Raise ValueError if there is no such setting; `device_of` looks for the device itself."""
    check_choice("device", name, DEVICES)


def check_numbers(positive: dict[str, float], natural: dict[str, float]) -> None:
    """Raise ValueError for the first that is not above 0, or not 0 or more; deprecated."""
    message = "fairloss.training.check_numbers will be removed: it is not used"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    for name, value in positive.items():
        check_number(name, value, 0, open_low=True)
    for name, value in natural.items():
        check_number(name, value, 0)


def device_of(name: str) -> torch.device:
    """Return the device that a setting names; ValueError if this machine has none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a GPU for cuda, got none; see `fairloss doctor`")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
