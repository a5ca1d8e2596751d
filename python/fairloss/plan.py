"""Memory and traffic of a head whose classes are divided among ranks, computed before a run.

The ranks are one process group, without groups along "data".
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from fairloss.checks import expect
from fairloss.optim import OPTIMIZERS
from fairloss.training.config import PRECISIONS, check_settings, choice, number
from fairloss_ext.ops.cosine_partition import auto_workspace, padded_batch

FLOAT, DOUBLE, LABEL = 4, 8, 8  # bytes
GB = 1e9
CHUNK_BYTES = 4 * (32 << 20)  # arrays of a chunk of classes, as in csrc/ops/cosine_chunks.h
DRAW_BYTES = 4 * 8  # a class, of `sample_classes`: integers of 64 bits and their hashes
STATISTICS_BYTES = 128  # a class, of `ClassStatistics`: counts, angles and indices
RATES = (0.5, 0.3, 0.2, 0.1, 0.05)
MOST_RANKS = 1 << 16


@dataclass
class PlanConfig:
    """A head, its batches and the memory of a rank."""

    classes: float = number(1e6, 1)  # a number such as 5e6
    ranks: int = number(1, 1)
    embedding_size: int = number(512, 1)
    batch_size: int = number(128, 1)  # of a rank
    sample_rate: float = number(1.0, 0, high=1, open_low=True)
    sparse: bool = True  # gradients of sampled classes
    optimizer: str = choice("sgd", OPTIMIZERS)  # with momentum and weight decay
    precision: str = choice("float32", PRECISIONS)  # of the embeddings that the head gets
    memory: float = number(80.0, 0, open_low=True)  # GB of a rank
    device: str = choice("cuda", ("cuda", "cpu"))
    statistics: bool = False  # of the classes, after an epoch

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        check_settings(self)
        expect(self.classes == int(self.classes), "classes", "an integer", self.classes)
        expected = "sgd where sample_rate is below 1, or sparse=false, as gradients are row-sparse"
        sparse = self.sampled and self.sparse
        expect(self.optimizer == "sgd" or not sparse, "optimizer", expected, self.optimizer)

    @property
    def sampled(self) -> bool:
        """True where a step has some of the classes alone."""
        return self.sample_rate < 1

    @property
    def samples(self) -> int:
        """The batch of all ranks."""
        return self.ranks * self.batch_size

    @property
    def itemsize(self) -> int:
        """Bytes of a number of an embedding."""
        return FLOAT if self.precision == "float32" else 2


@dataclass(frozen=True)
class Memory:
    """Bytes of the rank with the most classes.

    Attributes:
        weight: (C / W, D) float32.
        optimizer: momentum of sgd, or both moments of adamw.
        gradient: of all classes of the rank, or of the drawn ones if it is row-sparse.
        drawn: rows of drawn classes, and their positions.
        drawn_gradient: of these rows, from which a gradient of all classes is made afterwards.
        saved_cosines: from the forward to the backward pass.
        embeddings: those of all ranks, their gradient, and buffers of the collectives and kernels.
        scratch: of the optimizer, once the cosines are free, or of the draw before there are any.
        statistics: of all classes after an epoch: float64 sums, with several ranks also those of
            all of them, their float32 copy, and the centers.
    """

    weight: int
    optimizer: int
    gradient: int
    drawn: int
    drawn_gradient: int
    saved_cosines: int
    embeddings: int
    scratch: int
    statistics: int

    @property
    def peak(self) -> int:
        """The most bytes at one time: in the backward pass, the optimizer, or after an epoch."""
        backward = self.drawn + self.saved_cosines + self.embeddings
        backward += self.drawn_gradient or self.gradient
        later = self.gradient + max(self.scratch, self.statistics)
        return self.weight + self.optimizer + max(backward, later)


@dataclass(frozen=True)
class Collective:
    """A collective of a step.

    Attributes:
        name: of torch.distributed.
        content: of its tensor.
        bytes: of the tensor that a rank gives.
        sent: bytes that a rank sends where ranks form a ring.
    """

    name: str
    content: str
    bytes: int
    sent: int


def rank_memory(config: PlanConfig) -> Memory:
    """Return the bytes of a rank in a training step of the head."""
    classes, dim = int(config.classes), config.embedding_size
    local = -(-classes // config.ranks)
    weight = FLOAT * local * dim
    # Gradient + weight decay * weight; or the root of a moment, on a CPU also its quotient.
    copies = 2 if config.optimizer == "adamw" and config.device == "cpu" else 1
    rows, scratch = local, copies * weight
    if config.sampled:
        # Expected; the classes of the batch are in any case.
        labeled = min(local, -(-config.samples // config.ranks))
        rows = labeled + round(config.sample_rate * (local - labeled))
        if config.sparse:
            # `RowSGD` copies rows of weight, momentum and gradient, on a CPU few at a time.
            scratch = 3 * FLOAT * rows * dim if config.device == "cuda" else 0
        scratch = max(scratch, DRAW_BYTES * classes)
    dense = config.sampled and not config.sparse
    size = 2 if config.device == "cuda" and config.itemsize == 2 else FLOAT
    workspace = auto_workspace(config.samples, rows, size, int(config.memory * GB))
    gathered = config.samples * dim
    return Memory(
        weight=weight,
        optimizer=weight * (2 if config.optimizer == "adamw" else 1),
        gradient=weight if dense else FLOAT * rows * dim,
        drawn=(FLOAT * dim + 8) * rows if config.sampled else 0,
        drawn_gradient=FLOAT * rows * dim if dense else 0,
        saved_cosines=min(size * padded_batch(config.samples) * rows, workspace),
        # Parts, rows and their copy; unit embeddings and both products of their gradient.
        embeddings=3 * config.itemsize * gathered
        + 3 * FLOAT * gathered
        + (CHUNK_BYTES if config.device == "cuda" else 0),
        scratch=scratch,
        statistics=_statistics_memory(config) if config.statistics else 0,
    )


def _statistics_memory(config: PlanConfig) -> int:
    """Return the bytes of `ClassStatistics.compute`, of all classes on each rank."""
    classes, dim = int(config.classes), config.embedding_size
    sums = DOUBLE * dim * (1 if config.ranks == 1 else 2)
    return classes * (sums + 2 * FLOAT * dim + STATISTICS_BYTES)


def host_memory(config: PlanConfig) -> dict[str, int]:
    """Return bytes of the host beside those of a GPU.

    They are of each rank after an epoch, for the centers of the statistics, and of the first one
    at the end of a run, for the weights of all classes, which it writes.
    """
    matrix = FLOAT * int(config.classes) * config.embedding_size
    on_gpu = config.device == "cuda"
    return {
        "statistics": matrix if config.statistics and on_gpu else 0,
        "first_rank_at_end": matrix if config.ranks > 1 or on_gpu else 0,
    }


def step_collectives(config: PlanConfig) -> list[Collective]:
    """Return the collectives of a training step of the head, without those of the backbone."""
    samples, batch, ranks = config.samples, config.batch_size, config.ranks
    row = config.itemsize * config.embedding_size

    def gather(content: str, size: int) -> Collective:
        return Collective("all_gather", content, size, (ranks - 1) * size)

    def reduce(content: str, size: int) -> Collective:
        return Collective("all_reduce", content, size, 2 * (ranks - 1) * size // ranks)

    return [
        gather("length, row size and flag", 3 * LABEL),
        gather("embeddings and labels", batch * (row + LABEL)),
        reduce("highest log-sum-exp", FLOAT * samples),
        reduce("target cosine and sum", 2 * FLOAT * samples),
        Collective(
            "reduce_scatter",
            "gradient of the embeddings",
            samples * row,
            (ranks - 1) * batch * row,
        ),
    ]


def fitting_settings(config: PlanConfig) -> dict[str, Any]:
    """Return single settings with which the head would fit in the memory, the nearest of each."""
    fitting: dict[str, Any] = {}
    for name, values in _alternatives(config):
        for value in values:
            if _fits(replace(config, **{name: value})):
                fitting[name] = value
                break
    if classes := _most_classes(config):
        fitting["classes"] = classes
    return fitting


def plan(config: PlanConfig) -> dict[str, Any]:
    """Return what a run needs: bytes a rank, collectives of a step, and what would fit."""
    config.check()
    memory, collectives = rank_memory(config), step_collectives(config)
    fits = _fits(config)
    return {
        "settings": asdict(config),
        "classes_of_a_rank": -(-int(config.classes) // config.ranks),
        "bytes": asdict(memory) | {"peak": memory.peak},
        "host_bytes": host_memory(config),
        "fits": fits,
        "left": int(config.memory * GB) - memory.peak,
        "would_fit": {} if fits else fitting_settings(config),
        "collectives": [asdict(each) for each in collectives],
        "sent": sum(each.sent for each in collectives),
    }


def _fits(config: PlanConfig) -> bool:
    return rank_memory(config).peak <= config.memory * GB


def _alternatives(config: PlanConfig) -> Iterator[tuple[str, list[Any]]]:
    doublings = int(math.log2(MOST_RANKS / config.ranks)) if config.ranks < MOST_RANKS else 0
    yield "ranks", [config.ranks << n for n in range(1, doublings + 1)]
    if config.optimizer == "sgd" or not config.sparse:
        yield "sample_rate", [rate for rate in RATES if rate < config.sample_rate]
    if config.optimizer != "sgd":
        yield "optimizer", ["sgd"]
    elif config.sampled:
        yield "sparse", [True]
    yield "statistics", [False]


def _most_classes(config: PlanConfig) -> int:
    """Return the largest number of classes that fits, 0 if one does not."""
    low, high = 0, int(config.classes)
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(replace(config, classes=middle)):
            low = middle
        else:
            high = middle - 1
    return low
