"""The base of every loss: one number for each sample, sample weights and a reduction."""

from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor

from fairloss.checks import check_choice, check_integer, expect
from fairloss.collectives import gather_ranks, mean_count, share_buffers
from fairloss.heads.base.checks import batch_labels, check_embeddings, check_sample_weights
from fairloss.heads.base.recomputation import Recomputation, first_pass
from fairloss.heads.base.sharded import ClassShard
from fairloss.heads.base.state import StatefulModule
from fairloss_ext import ClassStatistics
from fairloss_ext.numerics import reduce_losses
from fairloss_ext.options import REDUCTIONS, Reduction


class SampleLoss(StatefulModule):
    """A loss for every labeled sample; a subclass defines `losses`.

    Args:
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
        ignore_index: label of samples to ignore, as -1 is in any case.

    Attributes:
        moving: buffers that a forward pass in training mode changes, once: not again where
            `torch.utils.checkpoint` repeats the pass.
        draws: whether such a pass draws from torch's generator.
        remembered_passes: training passes that may precede the backward pass of the first.
        shard: the classes of this rank, where ranks divide them.
    """

    ignore_index = -1  # of modules pickled before it was an option
    moving: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False
    remembered_passes: ClassVar[int] = 64
    shard: ClassShard | None = None

    def __init__(self, reduction: Reduction = "mean", ignore_index: int = -1) -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.reduction: Reduction = reduction
        self.ignore_index = check_integer("ignore_index", ignore_index, -(2**63))
        self._recomputation = Recomputation(self.remembered_passes)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        # Of modules pickled before they had these.
        self.__dict__.setdefault("_first_values", {})
        self.__dict__.setdefault("_recomputation", Recomputation(self.remembered_passes))

    @property
    def embedding_size(self) -> int | None:
        """D, or None where any size will do."""
        return None

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        labels: Tensor,  # (B,)
        sample_weights: Tensor | None = None,  # (B,)
        *,
        norms: Tensor | None = None,  # (B,)
    ) -> Tensor:
        """Compute the loss of a batch of raw embeddings.

        Args:
            embeddings: (B, D), any floating-point dtype.
            labels: (B,) or (B, 1), any integer dtype; -1 and `ignore_index` are ignored.
            sample_weights: factors on the losses; the mean still divides by the number of samples.
            norms: (B,) or (B, 1) lengths of the raw embeddings, for a `NormHead` whose backbone
                normalizes: of `embeddings` only the directions count then.

        Returns:
            (), or (B,) with reduction "none".

        Raises:
            ValueError: naming the argument: a shape, a dtype or a label out of range.
        """
        values = embeddings, labels, sample_weights, norms
        with nullcontext() if self.shard is None else self.shard.report_errors(*values):
            check_embeddings(embeddings, self.embedding_size)
            embeddings = self.raw_embeddings(embeddings, norms)
            labels = batch_labels(labels, embeddings.shape[0], self.ignore_index)
            if sample_weights is not None:
                check_sample_weights(sample_weights, embeddings.shape[0])
        if self.shard is not None:
            batch = embeddings, labels, sample_weights
            embeddings, labels, sample_weights, lengths = self.shard.gather(*batch)
        losses = self._repeatable_losses(embeddings, labels)
        if sample_weights is not None:
            losses = losses * sample_weights
        if self.reduction == "mean" and self.training and self.shard is None:
            return losses.sum() / mean_count(labels >= 0)
        if self.shard is not None:
            losses, labels = self.shard.gather_losses(losses, labels, lengths)
        return reduce_losses(losses, labels, self.reduction)

    def raw_embeddings(self, embeddings: Tensor, norms: Tensor | None) -> Tensor:
        """Return the (B, D) embeddings that have these norms; here none are taken."""
        got = "norms of embeddings"
        expect(norms is None, "norms", f"none, as {type(self).__name__} takes no norms", got)
        return embeddings

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1; labels are (B,) int64."""
        raise NotImplementedError

    def _repeatable_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        moving = [name for name in self.moving if name in self._buffers]
        changes = self.training and bool(moving or self.draws)
        if torch.compiler.is_compiling():
            if changes and moving and not torch.compiler.is_exporting():
                labels = first_pass(labels, type(self).__name__)
            return self.losses(embeddings, labels)
        if not changes:
            return self.losses(embeddings, labels)
        with self._recomputation.run(self, moving, self.draws, embeddings, labels):
            return self.losses(embeddings, labels)

    def gather_ranks(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Concatenate the (n, ...) `values` of all ranks, unless they are of the whole batch."""
        return gather_ranks(*values) if self.shard is None else self.shard.gather_replicas(*values)

    def average_gradient(self, values: Tensor) -> Tensor:
        """Return the values; where replicas divide a batch, their gradient is the mean of all."""
        return values if self.shard is None else self.shard.average_gradient(values)

    def _update(self, buffer: str, value: Tensor) -> None:
        """Replace the value of a buffer that the gradient of the same forward pass reads.

        A compiled backward pass computes cheap values again from the inputs of the graph: from the
        new value, if the buffer had changed in place.
        """
        value = value.detach().to(getattr(self, buffer).dtype)
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            setattr(self, buffer, value)
        else:
            getattr(self, buffer).copy_(value)

    @property
    def needs_statistics(self) -> bool:
        """True if `end_of_epoch` reads more of the statistics than the image counts."""
        return type(self).end_of_epoch is not SampleLoss.end_of_epoch

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Update the state after an epoch from statistics of the training set; here a no-op.

        Where `torch.distributed` has several ranks, each calls this: all get the buffers of rank 0,
        so the statistics should be those of the whole set.

        Raises:
            ValueError: the weights of the ranks differ, as each trained its own.
        """
        if self.shard is None:
            share_buffers(self)
        else:
            self.shard.share_state(self)


def as_precise(values: Tensor) -> Tensor:
    """Return float64 as it is, other dtypes as float32: 16 bits are too few for a cosine."""
    return values if values.dtype == torch.float64 else values.float()


def masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Compute the mean of the `counted` ones of (N,) values, without a branch; 0 of none."""
    return torch.where(counted, values, 0).sum() / counted.sum().clamp(min=1)
