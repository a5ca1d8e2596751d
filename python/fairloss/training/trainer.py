"""One epoch of training and the class statistics after it."""

import math
import operator
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fairloss.checks import expect
from fairloss.collectives import share_buffers
from fairloss.data import LabeledImages, to_input
from fairloss.heads import Head
from fairloss.metrics import ClassStatistics as StreamedStatistics
from fairloss.models import embed, embed_batches
from fairloss.optim import build_optimizer
from fairloss.ranks import RankError, default_group, gather_objects, num_ranks, rank_number
from fairloss.training.config import OptimizerConfig, learning_rate_at
from fairloss.training.loader import Loader
from fairloss.training.parallel import StepFlags, parallel, seed_step
from fairloss.training.step import Step, StepResult
from fairloss_ext import ClassStatistics, class_statistics

# Ten steps in a row without a finite loss: the run has diverged.
MAX_SKIPPED_IN_A_ROW = 10


class Diverged(RuntimeError):
    """Losses or gradients are non-finite in too many steps."""


class Epoch(NamedTuple):
    """The result of one epoch."""

    loss: float  # mean over the steps that were taken; NaN: float16 overflowed in every one
    steps: int
    skipped: int
    seconds: float


@dataclass
class EpochSoFar:
    """The steps of an epoch that are done.

    Attributes:
        steps: steps done, those that were left out included.
        losses: of the steps that were taken.
        skipped: steps that were left out.
        seconds: time of these steps, in all the runs that took them.
    """

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    seconds: float = 0.0


def _ignore_skip(step: int, reason: str) -> None:
    pass


class Trainer:
    """A backbone, a head and an optimizer on one training set.

    Everything random in an epoch is drawn from (seed, epoch, step), so an epoch repeats exactly
    from the same state.

    Several ranks of `torch.distributed` train one network: each of them makes a Trainer with the
    same arguments and calls it alike. They divide each batch, and with `process_group` the classes.

    Args:
        model: images (B, channels, H, W) -> embeddings (B, D).
        head: (embeddings, labels) -> loss; on several ranks with its `process_group`.
        faces: the training set, which stays in host memory or on disk.
        optimizer: its settings.
        batch_size: images of the largest batch, of all ranks together.
        seed: of the run.
        augment: mirror and shift images.
        device: where the model and the head are moved to, and every batch.
        on_skip: called with (step, reason) when a step is left out.
        workers: processes that decode images which are not in memory.
        sampler: "shuffle", "balanced" or "per_class".
        images_per_class: of each class in a batch of the "per_class" sampler.
        precision: of the backbone: "float32", "bfloat16" or "float16".
        accumulate: micro-batches that a batch is cut into.
    """

    def __init__(
        self,
        model: nn.Module,
        head: Head,
        faces: LabeledImages,
        optimizer: OptimizerConfig,
        *,
        batch_size: int,
        seed: int,
        augment: bool = True,
        device: torch.device | str = "cpu",
        on_skip: Callable[[int, str], None] = _ignore_skip,
        workers: int = 2,
        sampler: str = "shuffle",
        images_per_class: int = 4,
        precision: str = "float32",
        accumulate: int = 1,
    ) -> None:
        divided = head.shard is not None or num_ranks() == 1
        expect(divided, "head", "one with process_group, as there are several ranks", "one without")
        self.device = torch.device(device)
        self.model, self.head, self.faces = model.to(self.device), head.to(self.device), faces
        self.on_skip = on_skip
        self.step = 0
        self.loader = Loader(
            faces,
            batch_size,
            seed,
            augment,
            sampler,
            images_per_class,
            workers,
            pin_memory=self.device.type == "cuda",
            accumulate=accumulate,
        )
        self.optimizer = build_optimizer(
            optimizer.name,
            [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad],
            lr=optimizer.learning_rate,
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
            row_sparse=head.row_sparse,
        )
        self.head.distribute_state(self.optimizer)
        height, width = faces.image_size
        self._take_step = Step(
            parallel(self.model, (faces.channels, height, width)),
            self.head,
            faces,
            self.optimizer,
            clip=optimizer.clip,
            precision=precision,
            accumulate=accumulate,
        )
        self._rate_at: Callable[[int], float] | None = None
        self._skipped_in_a_row = 0
        self._last_reason = ""

    @property
    def flags(self) -> StepFlags:
        """The flags that ranks share in each step."""
        return self._take_step.flags

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(len(self.faces) / self.loader.batch_size)

    @property
    def images_per_step(self) -> float:
        """Mean number of images in a batch: at most `batch_size`, as batches are nearly equal."""
        if self.loader.sampler == "per_class":
            return self.loader.batch_size
        return len(self.faces) / self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last step; before the first the configured one."""
        return float(self.optimizer.param_groups[0]["lr"])

    def start_schedule(self, config: OptimizerConfig, epochs: int) -> None:
        """Give every step from now on the rate of a run of so many epochs, numbered from 1."""
        self._rate_at = partial(learning_rate_at, config, epochs, self.steps_per_epoch)

    def run_epoch(
        self,
        epoch: int,
        learning_rate: float | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
        *,
        done: EpochSoFar | None = None,
        after_step: Callable[[EpochSoFar], object] = lambda so_far: None,
    ) -> Epoch:
        """Train on as many batches as hold every image once.

        Args:
            epoch: its number; batches and augmentation are drawn from it.
            learning_rate: of all its steps; default that of the schedule, if one was started, or
                of the optimizer.
            progress: called as progress(steps done, steps).
            done: steps of this epoch after which the state was restored; default none.
            after_step: called after each step, also one that was left out. With `state()` its
                argument, which changes with every step, is all that the rest of the epoch needs.

        Raises:
            Diverged: no step, or too many in a row, had a finite loss and gradient; RankError on
                ranks other than the first.
            ValueError: `done` has more steps than the epoch.
        """
        started = time.perf_counter()
        self.model.train()
        self.head.train()
        so_far = EpochSoFar() if done is None else replace(done, losses=list(done.losses))
        batches = self.loader.batches(epoch)
        expect(so_far.steps <= len(batches), "done", f"at most {len(batches)} steps", so_far.steps)
        started -= so_far.seconds
        with closing(self.loader.load(epoch, batches, so_far.steps)) as loaded:
            for images in loaded:
                self._set_learning_rate(learning_rate, (epoch - 1) * len(batches) + so_far.steps)
                loss = self._train_step(images, batches[so_far.steps])
                so_far.steps += 1
                if loss is None:
                    so_far.skipped += 1
                else:
                    so_far.losses.append(loss)
                so_far.seconds = time.perf_counter() - started
                progress(so_far.steps, len(batches))
                after_step(so_far)
        if not so_far.losses and self._skipped_in_a_row:  # none where a loss scale is falling
            raise self._diverged(f"all {so_far.steps} steps of epoch {epoch} were left out")
        return Epoch(
            loss=sum(so_far.losses) / len(so_far.losses) if so_far.losses else math.nan,
            steps=so_far.steps,
            skipped=so_far.skipped,
            seconds=so_far.seconds,
        )

    def statistics(self, intra_angle: bool = True) -> ClassStatistics:
        """Return class statistics of un-augmented training embeddings, in eval mode and float32.

        Each of several ranks embeds its part of the set; where one has received a signal it stops,
        and the result is of no use.

        Args:
            intra_angle: measure it also where images are not in memory, or on several ranks, and
                it takes a second pass; else it is NaN there.
        """
        share_buffers(self.model)  # the batch statistics of each rank are of its batches
        if not self.faces.in_memory or num_ranks() > 1:
            return self._streamed_statistics(intra_angle)
        embeddings = embed(self.model, self.faces, flip=False)
        labels = self.faces.labels.to(embeddings.device)
        statistics = class_statistics(embeddings, labels, self.faces.num_classes)
        return ClassStatistics(*(values.cpu() for values in statistics))

    def _streamed_statistics(self, intra_angle: bool) -> ClassStatistics:
        streamed = StreamedStatistics(
            self.faces.num_classes,
            self.head.embedding_size,
            self.device,
            process_group=default_group(),
        )
        for embeddings, labels in self._embeddings():
            if self.flags.received():
                break
            streamed.update(embeddings, labels)
        # A second pass needs all images of the first; it takes no notice of a signal.
        takes_second = intra_angle and not any(gather_objects(self.flags.received()))
        statistics = streamed.compute(self._embeddings() if takes_second else None)
        return ClassStatistics(*(values.cpu() for values in statistics))

    def _embeddings(self) -> Iterator[tuple[Tensor, Tensor]]:
        with closing(self.loader.load_in_order()) as batches:
            labels = self.faces.labels[self.loader.rank_range()]
            for embeddings in embed_batches(self.model, batches, flip=False):
                yield embeddings, labels[: len(embeddings)]
                labels = labels[len(embeddings) :]

    def counts(self) -> ClassStatistics:
        """Return the image counts in the form of `statistics`, without a pass; the rest is NaN."""
        counts = self.faces.counts
        missing = torch.full((len(counts),), torch.nan)
        centers = missing[:, None].expand(-1, self.head.embedding_size)
        nearest = torch.full_like(counts, -1)
        return ClassStatistics(counts, centers, missing, missing, missing, nearest)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, but for the `EpochSoFar` inside an epoch."""
        scaler = self._take_step.scaler
        scaler_state = {} if scaler is None else {"scaler": scaler.state_dict()}
        return scaler_state | {
            "step": self.step,
            "skipped_in_a_row": self._skipped_in_a_row,
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self._random_state(),  # dropout
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from `state`.

        Raises:
            KeyError, TypeError, ValueError: an entry is missing, or does not fit.
        """
        self.step = operator.index(state["step"])
        # older states, which were saved between epochs, lack it
        self._skipped_in_a_row = operator.index(state.get("skipped_in_a_row", 0))
        try:
            self.model.load_state_dict(state["model"])
            self.head.load_state_dict(state["head"])
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split("\n")[:2])) from error
        self.optimizer.load_state_dict(state["optimizer"])
        if self._take_step.scaler is not None:
            self._take_step.scaler.load_state_dict(state["scaler"])
        if len(state["rng"]) == len(self._random_state()):  # of the same kind of device
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(state["rng"], self.device)
            else:
                torch.set_rng_state(state["rng"])

    def _random_state(self) -> Tensor:
        if self.device.type == "cuda":
            return torch.cuda.get_rng_state(self.device)
        return torch.get_rng_state()

    def _set_learning_rate(self, learning_rate: float | None, step: int) -> None:
        """Set the rate of a step, which is numbered from 0 over all epochs of a run."""
        if learning_rate is None and self._rate_at is not None:
            learning_rate = self._rate_at(step)
        if learning_rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate

    def _train_step(self, images: Tensor, indices: Tensor) -> float | None:
        """Return the loss, or None where the step was left out because of a non-finite number."""
        self.step += 1
        seed_step(self.loader.seed, self.step)
        result = self._take_step(self._to_input(images), indices)
        if result.loss is None:
            self._skip(result)
        else:
            self._skipped_in_a_row = 0
        return result.loss

    def _to_input(self, images: Tensor) -> Tensor:
        if self.faces.in_memory:
            return to_input(images).to(self.device)
        # a quarter of the bytes, from pinned memory, but on a GPU rounded in another way
        return to_input(images.to(self.device, non_blocking=True))

    def _skip(self, result: StepResult) -> None:
        self.on_skip(self.step, result.reason)
        self._last_reason = result.reason
        self._skipped_in_a_row += not result.overflow
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise self._diverged(f"{self._skipped_in_a_row} steps in a row were left out")

    def _diverged(self, what: str) -> Diverged | RankError:
        """Return the error, which all ranks raise in the same step and the first one reports."""
        message = (
            f"{what}, the last at step {self.step}: {self._last_reason}. Try a lower learning rate "
            "or scale."
        )
        return Diverged(message) if rank_number() == 0 else RankError(message)
