"""The base of every head whose loss is a margin softmax over class cosines."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairloss.heads.sampling import check_rate, sample_classes
from fairloss_ext import ClassStatistics, margin_softmax_loss
from fairloss_ext.options import (
    COMPUTE_DTYPES,
    EXTENSIONS,
    KINDS,
    MARGIN_GRADS,
    REDUCTIONS,
    Extension,
    Kind,
    MarginGrad,
    Reduction,
    choice,
)


class CosineHead(nn.Module):
    """Class weights on the unit sphere and a margin softmax over them.

    ``loss_i = -log( e^{s phi(theta_y)} / (e^{s phi(theta_y)} + sum_{j != y} e^{s cos theta_j}) )``,
    computed by `fairloss_ext.margin_softmax_loss`. A subclass says what `margins` are.

    Args:
        num_classes: C.
        embedding_size: D.
        margins: a number for all classes, or (C,) one a class.
        kind: "arc" (radians), "cos" (cosine) or "sphere" (factor on the angle).
        scale: s; a buffer, so it may change without recompiling a graph.
        extension, margin_grad: see `fairloss_ext.margin_softmax_loss`.
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
        sample_rate: below 1, a training step compares with the classes of its batch and this
            fraction of the others (`sample_classes`), and the gradient of `weight` is row-sparse:
            take `fairloss.optim.RowSGD`. As in PartialFC the loss is that of the drawn classes,
            not corrected for those left out. In eval mode all classes count.
        sample_seed: which classes are drawn.
        workspace, compute_dtype: memory and precision, see `fairloss_ext.cosine_partition`.

    Attributes:
        weight: (C, D) raw class weights, N(0, 0.01) as in insightface.
        margins, scale: buffers, float32.
        step: buffer, int64, with sampled classes only: forward passes in training mode so far, so
            that a resumed run draws what it would have drawn.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margins: Tensor | float,
        *,
        kind: Kind,
        scale: float = 64.0,
        extension: Extension = "linear",
        margin_grad: MarginGrad = "exact",
        reduction: Reduction = "mean",
        sample_rate: float = 1.0,
        sample_seed: int = 0,
        workspace: int | Literal["auto", "recompute"] = "auto",
        compute_dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for name, number in (("num_classes", num_classes), ("embedding_size", embedding_size)):
            if number < 1:
                raise ValueError(f"{name}: got {number}, expected at least 1")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale: got {scale}, expected a positive number")
        choice("kind", kind, KINDS)
        choice("extension", extension, EXTENSIONS)
        choice("margin_grad", margin_grad, MARGIN_GRADS)
        choice("reduction", reduction, REDUCTIONS)
        choice("compute_dtype", compute_dtype, COMPUTE_DTYPES)
        check_rate("sample_rate", sample_rate)
        self.kind, self.extension, self.margin_grad = kind, extension, margin_grad
        self.reduction = reduction
        self.sample_rate, self.sample_seed = sample_rate, sample_seed
        self.workspace, self.compute_dtype = workspace, compute_dtype
        self.weight = nn.Parameter(torch.empty(num_classes, embedding_size).normal_(0, 0.01))
        self.scale: Tensor
        self.margins: Tensor
        self.step: Tensor
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("margins", torch.as_tensor(margins, dtype=torch.float32).clone())
        if sample_rate < 1:
            self.register_buffer("step", torch.tensor(0))

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0]

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.weight.shape[1]

    def forward(
        self,
        embeddings: Tensor,  # (B, D)
        labels: Tensor,  # (B,)
        sample_weights: Tensor | None = None,  # (B,)
    ) -> Tensor:
        """The loss of a batch of raw embeddings; a label of -1 is ignored.

        With `sample_weights` each loss is multiplied by its weight; the mean still divides by the
        number of samples.
        """
        weight: Tensor = self.weight
        margins = self.margins
        if self.training and self.sample_rate < 1:
            weight, margins, labels = self._sampled(labels)
        losses = margin_softmax_loss(
            embeddings,
            weight,
            labels,
            margins,
            kind=self.kind,
            scale=self.scale,
            extension=self.extension,
            margin_grad=self.margin_grad,
            reduction="none",
            workspace=self.workspace,
            compute_dtype=self.compute_dtype,
        )
        if sample_weights is not None:
            losses = losses * sample_weights
        if self.reduction == "none":
            return losses
        total = losses.sum()
        return total if self.reduction == "sum" else total / (labels >= 0).sum().clamp(min=1)

    def _sampled(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (S, D), margins and labels (B,) of the classes drawn for this step."""
        classes, labels = sample_classes(
            labels, self.num_classes, self.sample_rate, self.step, self.sample_seed
        )
        self.step += 1
        one_for_all = self.margins.dim() == (1 if self.kind == "combined" else 0)
        margins = self.margins if one_for_all else self.margins[classes]
        return F.embedding(classes, self.weight, sparse=True), margins, labels

    def logits(self, embeddings: Tensor) -> Tensor:
        """(B, C) scaled cosines without margin, for accuracy and for prediction."""
        cosine = F.linear(F.normalize(embeddings.float()), F.normalize(self.weight.float()))
        return self.scale * cosine

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Called after every epoch with the statistics of the training set; here a no-op."""

    def extra_repr(self) -> str:
        sampled = f", sample_rate={self.sample_rate:g}" if self.sample_rate < 1 else ""
        return (
            f"{self.num_classes} classes, {self.embedding_size}-d, kind={self.kind}, "
            f"scale={self.scale.item():g}{sampled}"
        )
