"""One optimizer step: micro-batches, precision, and when a step is left out."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fairloss.data import LabeledImages
from fairloss.data.batches import rank_rows
from fairloss.heads import Head
from fairloss.ranks import gather_objects, num_ranks, rank_number
from fairloss.training.parallel import StepFlags

NO_REASON = "the loss is not finite"


class StepResult(NamedTuple):
    """The result of a step."""

    loss: float | None  # mean over the labeled images; None: the step was left out
    reason: str = ""  # why it was left out
    overflow: bool = False  # left out by a loss scale that can still fall


class Step:
    """Forward pass, backward pass and update of one batch.

    The backbone runs in `precision`, the head in float32: its loss is of cosines and their
    exponentials. Weights and their gradients are float32.

    Several ranks divide each micro-batch. Their losses are those of the whole, and they leave out
    the same steps.

    Args:
        model: images (B, channels, H, W) -> embeddings (B, D); on several ranks in
            `DistributedDataParallel`.
        head: (embeddings, labels) -> mean loss.
        images: the training set, of labels and of names for messages.
        optimizer: of both.
        clip: largest norm of the model's gradient.
        precision: "float32", "bfloat16" or "float16"; float16 with a loss scale.
        accumulate: micro-batches that a batch is cut into.
    """

    def __init__(
        self,
        model: nn.Module,
        head: Head,
        images: LabeledImages,
        optimizer: torch.optim.Optimizer,
        *,
        clip: float,
        precision: str = "float32",
        accumulate: int = 1,
    ) -> None:
        self.model, self.head, self.images, self.optimizer = model, head, images, optimizer
        self.clip, self.accumulate = clip, accumulate
        self.dtype: torch.dtype = getattr(torch, precision)
        self.device = head.weight.device
        self.flags = StepFlags(self.device)
        is_scaled = self.dtype == torch.float16
        self.scaler = _loss_scaler(self.device) if is_scaled else None

    def __call__(self, inputs: Tensor, indices: Tensor) -> StepResult:
        """Train on a batch.

        Args:
            inputs: (B, channels, H, W), on the device; on several ranks those of this one, at
                the `rank_rows` of the batch.
            indices: (B,) positions in the training set, those of all ranks.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = min(self.accumulate, len(indices))
        rows = rank_rows(len(indices), parts, rank_number(), num_ranks())
        labeled = max(1, self._labeled(indices))
        mean = 0.0
        images = inputs.split([len(part) for part in rows])
        for number, part in enumerate(indices.tensor_split(parts)):
            with self._averaged(last=number == parts - 1):
                mine = indices[rows[number]]
                embeddings, loss = self._forward(images[number], mine)
                if not loss.isfinite():  # the same on every rank
                    self.flags.share(False)
                    return StepResult(None, self._non_finite(embeddings, mine))
                share = self._labeled(part) / labeled  # of the batch; parts differ by an image
                loss = loss * share
                (loss if self.scaler is None else self.scaler.scale(loss)).backward()
                mean += float(loss.detach())
        return self._update(mean)

    def _averaged(self, last: bool) -> AbstractContextManager[Any]:
        """Return the context of a micro-batch: ranks average gradients in the last of a step."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def _labeled(self, indices: Tensor) -> int:
        return int((self.images.labels[indices] != self.head.ignore_index).sum())

    def _forward(self, images: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        with self._autocast():
            embeddings = self.model(images)
        if self.dtype != torch.float32:
            embeddings = embeddings.float()
        return embeddings, self.head(embeddings, self.images.labels[indices].to(self.device))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def _update(self, loss: float) -> StepResult:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        finite = bool(norm.isfinite()) and _finite(self.head.weight.grad)
        finite = self.flags.share(finite)
        if self.scaler is not None:
            return self._scaled_update(self.scaler, loss, finite)
        if not finite:
            return StepResult(None, "the gradient is not finite")
        self.optimizer.step()
        return StepResult(loss)

    def _scaled_update(self, scaler: torch.amp.GradScaler, loss: float, finite: bool) -> StepResult:
        before = scaler.get_scale()
        if finite:
            scaler.step(self.optimizer)
        scaler.update()
        # It falls where any gradient was not finite, and then `scaler.step` did nothing.
        after = scaler.get_scale()
        if finite and after >= before:
            return StepResult(loss)
        reason = f"the gradient overflows float16 at a loss scale of {before:g}, now {after:g}"
        return StepResult(None, reason, overflow=after < before and before > 1)

    def _non_finite(self, embeddings: Tensor, indices: Tensor) -> str:
        """Return the reason of the first rank that has one."""
        reasons = gather_objects(self._rank_reason(embeddings, indices))
        return next(filter(None, reasons), NO_REASON)

    def _rank_reason(self, embeddings: Tensor, indices: Tensor) -> str | None:
        # NaN of a row with one; unlike isfinite() of the weight, no (C, D) copy
        lowest, highest = self.head.weight.detach().aminmax(dim=1)
        rows = (~(lowest.isfinite() & highest.isfinite())).nonzero().flatten()
        if len(rows):
            first = 0 if self.head.shard is None else self.head.shard.classes.start
            numbers = (first + rows).tolist()
            classes = ", ".join(f"{row} ({self.images.identities[row]})" for row in numbers[:5])
            return f"{len(rows)} rows of the head's weight are not finite: class {classes}"
        images = indices[~embeddings.isfinite().all(dim=1).cpu()].tolist()
        if images:
            names = ", ".join(self.images.names[image] for image in images[:5])
            return f"{len(images)} embeddings are not finite: {names}"
        return None


def _loss_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Return the scaler of float16; that of several ranks lowers its scale on all of them."""
    if num_ranks() == 1:
        return torch.amp.GradScaler(device.type)
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler  # slow to import

    return ShardedGradScaler(device.type)


def _finite(gradient: Tensor | None) -> bool:
    if gradient is None:
        return True
    values = gradient._values() if gradient.is_sparse else gradient
    return bool(values.isfinite().all())
