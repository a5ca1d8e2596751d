"""What every loss of this package shares: one loss a sample, sample weights and a reduction."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from fairloss.checks import check_choice
from fairloss_ext import ClassStatistics
from fairloss_ext.numerics import full_precision
from fairloss_ext.options import REDUCTIONS, Reduction


class SampleLoss(nn.Module):
    """A loss for every labelled sample; a subclass says which in `losses`.

    Args:
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_choice("reduction", reduction, REDUCTIONS)
        self.reduction = reduction

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        labels: Tensor,  # (B,)
        sample_weights: Tensor | None = None,  # (B,)
    ) -> Tensor:
        """The loss of a batch of raw embeddings; a label of -1 is ignored.

        With `sample_weights` each loss is multiplied by its weight; the mean still divides by the
        number of samples.

        Raises:
            ValueError or RuntimeError naming the argument: a shape, a dtype, a label out of range.
        """
        check_batch(embeddings, labels)
        losses = self.losses(embeddings, labels)
        if sample_weights is not None:
            if sample_weights.shape != losses.shape:  # (B, 1) would broadcast to (B, B)
                raise ValueError(
                    f"sample_weights: got shape {tuple(sample_weights.shape)}, expected "
                    f"{tuple(losses.shape)}"
                )
            losses = losses * sample_weights
        if self.reduction == "none":
            return losses
        total = losses.sum()
        return total if self.reduction == "sum" else total / (labels >= 0).sum().clamp(min=1)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        raise NotImplementedError

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Called after every epoch with the statistics of the training set; here a no-op."""


class Head(SampleLoss):
    """A loss with a weight vector for each class.

    Args:
        num_classes: C.
        embedding_size: D.
        reduction: see `SampleLoss`.

    Attributes:
        weight: (C, D) raw class weights, N(0, 0.01) as in insightface.
        sample_rate: part of the classes that a training step compares with.
        scaled: whether the class takes a `scale`.
    """

    sample_rate: float = 1.0
    scaled: ClassVar[bool] = False

    def __init__(
        self, num_classes: int, embedding_size: int, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction)
        for name, number in (("num_classes", num_classes), ("embedding_size", embedding_size)):
            if number < 1:
                raise ValueError(f"{name}: got {number}, expected at least 1")
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size).normal_(0, 0.01))

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0]

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.weight.shape[1]

    def logits(self, embeddings: Tensor) -> Tensor:
        """(B, C) logits without margin, for accuracy and for prediction."""
        with full_precision(embeddings.device):
            return self.plain_logits(precise(embeddings))

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """`logits` of embeddings in float32 or float64."""
        raise NotImplementedError

    def class_margins(self) -> Tensor:
        """() or (C,) margins to report; NaN where a class has no single one."""
        return torch.tensor(torch.nan)


def precise(values: Tensor) -> Tensor:
    """At least float32: 16 bits are too few for a cosine."""
    return values if values.dtype == torch.float64 else values.float()


def check_scale(scale: float) -> None:
    """ValueError unless `scale` is positive and finite."""
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale: got {scale}, expected a positive number")


def check_number(
    name: str, value: float, lowest: float = -math.inf, highest: float = math.inf
) -> None:
    """ValueError unless `value` is finite and in [lowest, highest]."""
    if not (math.isfinite(value) and lowest <= value <= highest):
        expected = {
            (True, True): f"a number in [{lowest:g}, {highest:g}]",
            (True, False): f"a number of at least {lowest:g}",
            (False, False): "a finite number",
        }[math.isfinite(lowest), math.isfinite(highest)]
        raise ValueError(f"{name}: got {value}, expected {expected}")


def check_batch(embeddings: Tensor, labels: Tensor) -> None:
    """ValueError unless there is one integer label for each embedding; waits for no device."""
    _check_dtype(labels)
    if embeddings.dim() != 2:
        raise ValueError(f"embeddings: expected shape (B, D), got {tuple(embeddings.shape)}")
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels: expected shape {tuple(embeddings.shape[:1])}, got {tuple(labels.shape)}"
        )


def check_labels(labels: Tensor, num_classes: int) -> None:
    """ValueError naming a dtype that is no integer's, or the first label that is no class."""
    _check_dtype(labels)
    wrong = labels[(labels < -1) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(f"labels: got {int(wrong[0])}, allowed are -1 to {num_classes - 1}")


def _check_dtype(labels: Tensor) -> None:
    if labels.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"labels: expected dtype int32 or int64, got {labels.dtype}")
