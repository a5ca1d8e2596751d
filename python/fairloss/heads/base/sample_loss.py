"""The base of every loss: one number for each sample, sample weights and a reduction."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from fairloss.checks import check_choice, check_shape
from fairloss.heads.base.checks import check_batch
from fairloss.heads.base.recomputation import Recomputation
from fairloss.heads.base.state import StatefulModule
from fairloss_ext import ClassStatistics
from fairloss_ext.numerics import reduce_losses
from fairloss_ext.options import REDUCTIONS, Reduction


class SampleLoss(StatefulModule):
    """A loss for every labeled sample; a subclass defines `losses`.

    Args:
        reduction: "mean" over the samples that are not ignored, "sum" or "none".

    Attributes:
        moving: buffers that a forward pass in training mode changes, once: not again where
            `torch.utils.checkpoint` repeats the pass.
        draws: whether such a pass draws from torch's generator.
        remembered_passes: training passes that may precede the backward pass of the first.
    """

    moving: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False
    remembered_passes: ClassVar[int] = 64

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.reduction: Reduction = reduction
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
    ) -> Tensor:
        """Compute the loss of a batch of raw embeddings; a label of -1 is ignored.

        With `sample_weights` each loss is multiplied by its weight; the mean still divides by the
        number of samples.

        Returns:
            (), or (B,) with reduction "none".

        Raises:
            ValueError: naming the argument: a shape, a dtype or a label out of range.
        """
        check_batch(embeddings, labels, self.embedding_size)
        losses = self._repeatable_losses(embeddings, labels)
        if sample_weights is not None:
            check_shape("sample_weights", sample_weights, len(losses))  # (B, 1) would broadcast
            losses = losses * sample_weights
        return reduce_losses(losses, labels, self.reduction)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        raise NotImplementedError

    def _repeatable_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        moving = [name for name in self.moving if name in self._buffers]
        if not (self.training and (moving or self.draws)) or torch.compiler.is_compiling():
            return self.losses(embeddings, labels)
        with self._recomputation.run(self, moving, self.draws, embeddings, labels):
            return self.losses(embeddings, labels)

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Update the state after an epoch from statistics of the training set; here a no-op."""


def as_precise(values: Tensor) -> Tensor:
    """Return float64 as it is, other dtypes as float32: 16 bits are too few for a cosine."""
    return values if values.dtype == torch.float64 else values.float()
