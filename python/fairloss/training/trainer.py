"""One epoch of training and the class statistics after it."""

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from fairloss.agent import GroupState
from fairloss.agent.state import BINS
from fairloss.checks import expect
from fairloss.data import FaceImages, augment, epoch_batches, to_input
from fairloss.heads import Head
from fairloss.models import embed
from fairloss.optim import RowSGD, step_schedule
from fairloss.training.config import OptimizerConfig
from fairloss_ext import ClassStatistics, class_statistics

# Ten steps in a row without a finite loss: the run has diverged.
MAX_SKIPPED_IN_A_ROW = 10


class Diverged(RuntimeError):
    """Losses or gradients are non-finite in too many steps."""


class Epoch(NamedTuple):
    """The result of one epoch."""

    loss: float  # mean over the steps that were taken
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

    Args:
        model: images (B, channels, H, W) -> embeddings (B, D).
        head: (embeddings, labels) -> loss.
        faces: the training set, which stays in host memory.
        device: where the model and the head are moved to, and every batch.
        on_skip: called with (step, reason) when a step is left out.
    """

    def __init__(
        self,
        model: nn.Module,
        head: Head,
        faces: FaceImages,
        optimizer: OptimizerConfig,
        *,
        batch_size: int,
        seed: int,
        augment: bool = True,
        device: torch.device | str = "cpu",
        on_skip: Callable[[int, str], None] = _ignore_skip,
    ) -> None:
        self.device = torch.device(device)
        self.model, self.head, self.faces = model.to(self.device), head.to(self.device), faces
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.clip, self.on_skip = optimizer.clip, on_skip
        self.step = 0
        trained = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
        kind = RowSGD if head.sample_rate < 1 else torch.optim.SGD
        self.optimizer = kind(
            trained,
            lr=optimizer.learning_rate,
            momentum=optimizer.momentum,
            weight_decay=optimizer.weight_decay,
        )
        self._skipped_in_a_row = 0
        self._last_reason = ""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(len(self.faces) / self.batch_size)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def start_schedule(self, config: OptimizerConfig, epochs: int, finished: int) -> LambdaLR:
        """Return the schedule of a run, set to the rate after `finished` of its epochs."""
        return step_schedule(
            self.optimizer, config.learning_rate, config.decay_at, epochs, finished
        )

    def run_epoch(
        self,
        epoch: int,
        learning_rate: float | None = None,
        progress: Callable[[int, int], object] = lambda done, total: None,
        *,
        done: EpochSoFar | None = None,
        after_step: Callable[[EpochSoFar], object] = lambda so_far: None,
    ) -> Epoch:
        """Train on every image once.

        Args:
            epoch: its number; batches and augmentation are drawn from it.
            learning_rate: default that of the optimizer.
            progress: called as progress(steps done, steps).
            done: steps of this epoch after which the state was restored; default none.
            after_step: called after each step, also one that was left out. With `state()` its
                argument, which changes with every step, is all that the rest of the epoch needs.

        Raises:
            Diverged: no step, or too many in a row, had a finite loss and gradient.
            ValueError: `done` has more steps than the epoch.
        """
        started = time.perf_counter()
        self.model.train()
        self.head.train()
        if learning_rate is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
        so_far = EpochSoFar() if done is None else replace(done, losses=list(done.losses))
        batches = epoch_batches(len(self.faces), self.batch_size, self.seed, epoch)
        expect(so_far.steps <= len(batches), "done", f"at most {len(batches)} steps", so_far.steps)
        started -= so_far.seconds
        for number in range(so_far.steps, len(batches)):
            indices = batches[number]
            images = self.faces.images(indices)
            if self.augment:
                images = augment(images, self.seed, epoch, number, self.faces.mirror)
            loss = self._train_step(to_input(images).to(self.device), indices)
            so_far.steps += 1
            if loss is None:
                so_far.skipped += 1
            else:
                so_far.losses.append(loss)
            so_far.seconds = time.perf_counter() - started
            progress(so_far.steps, len(batches))
            after_step(so_far)
        if not so_far.losses:
            raise self._diverged(f"all {so_far.steps} steps of epoch {epoch} were left out")
        return Epoch(
            loss=sum(so_far.losses) / len(so_far.losses),
            steps=so_far.steps,
            skipped=so_far.skipped,
            seconds=so_far.seconds,
        )

    def statistics(self) -> ClassStatistics:
        """Return class statistics of un-augmented training embeddings, in eval mode."""
        embeddings = embed(self.model, self.faces, flip=False)
        labels = self.faces.labels.to(embeddings.device)
        statistics = class_statistics(embeddings, labels, self.faces.num_classes)
        return ClassStatistics(*(values.cpu() for values in statistics))

    def counts(self) -> ClassStatistics:
        """Return the image counts in the form of `statistics`, without a pass; the rest is NaN."""
        counts = self.faces.counts
        missing = torch.full((len(counts),), torch.nan)
        centers = missing[:, None].expand(-1, self.head.embedding_size)
        nearest = torch.full_like(counts, -1)
        return ClassStatistics(counts, centers, missing, missing, missing, nearest)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on, but for the `EpochSoFar` inside an epoch."""
        return {
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
        if len(state["rng"]) == len(self._random_state()):  # of the same kind of device
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(state["rng"], self.device)
            else:
                torch.set_rng_state(state["rng"])

    def _random_state(self) -> Tensor:
        if self.device.type == "cuda":
            return torch.cuda.get_rng_state(self.device)
        return torch.get_rng_state()

    def _train_step(self, inputs: Tensor, indices: Tensor) -> float | None:
        """Return the loss, or None where the step was left out because of a non-finite number."""
        self.step += 1
        self.optimizer.zero_grad(set_to_none=True)
        embeddings = self.model(inputs)
        loss = self.head(embeddings, self.faces.labels[indices].to(self.device))
        if not loss.isfinite():
            self._skip(self._non_finite(embeddings, indices))
            return None
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        if not norm.isfinite() or not _finite(self.head.weight.grad):
            self._skip("the gradient is not finite")
            return None
        self.optimizer.step()
        self._skipped_in_a_row = 0
        return float(loss.detach())

    def _non_finite(self, embeddings: Tensor, indices: Tensor) -> str:
        lowest, highest = self.head.weight.aminmax(dim=1)  # NaN of a row with one; no (C, D) copy
        rows = (~(lowest.isfinite() & highest.isfinite())).nonzero().flatten().tolist()
        if rows:
            classes = ", ".join(f"{row} ({self.faces.identities[row]})" for row in rows[:5])
            return f"{len(rows)} rows of the head's weight are not finite: class {classes}"
        images = indices[~embeddings.isfinite().all(dim=1).cpu()].tolist()
        if images:
            names = ", ".join(self.faces.names[image] for image in images[:5])
            return f"{len(images)} embeddings are not finite: {names}"
        return "the loss is not finite"

    def _skip(self, reason: str) -> None:
        self.on_skip(self.step, reason)
        self._last_reason = reason
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise self._diverged(f"{self._skipped_in_a_row} steps in a row were left out")

    def _diverged(self, what: str) -> Diverged:
        return Diverged(
            f"{what}, the last at step {self.step}: {self._last_reason}. Try a lower learning rate "
            "or scale."
        )


def _finite(gradient: Tensor | None) -> bool:
    if gradient is None:
        return True
    values = gradient._values() if gradient.is_sparse else gradient
    return bool(values.isfinite().all())


def group_table(
    statistics: ClassStatistics,
    margins: Tensor,
    count_cuts: tuple[float, float] | None = None,
) -> list[dict[str, Any]]:
    """Return the nine groups (count bin x variance bin) with mean margin and angles in radians.

    Classes with one image are left out of the intra-class angle: theirs is 0 by definition. Without
    variances there are three groups, the count bins, whose variance bin is None.

    Args:
        statistics: of the training set, or its counts.
        margins: () or (C,), of the epoch that was trained.
        count_cuts: those of the head; by default terciles, as the head's.
    """
    groups = GroupState(statistics.count.numpy(), count_cuts=count_cuts)
    variance_bins = groups.variance_bins(statistics.intra_variance.numpy())
    measured = not statistics.intra_variance.isnan().all()
    class_margins = np.broadcast_to(margins.double().cpu().numpy(), groups.counts.shape)
    table = []
    for count_bin in range(BINS):
        for variance_bin in range(BINS) if measured else (None,):
            members = (groups.count_bins == count_bin) & (groups.counts > 0)
            if variance_bin is not None:
                members &= variance_bins == variance_bin
            several = members & (groups.counts > 1)
            table.append(
                {
                    "count_bin": count_bin,
                    "variance_bin": variance_bin,
                    "classes": int(members.sum()),
                    "margin": _mean(class_margins[members]),
                    "intra_angle": _mean(statistics.intra_angle.numpy()[several]),
                    "inter_angle": _mean(statistics.inter_angle.numpy()[members]),
                }
            )
    return table


def _mean(values: Any) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
