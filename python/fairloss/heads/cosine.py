"""The base of every head whose loss is a margin softmax over class cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import check_choice
from fairloss.heads.head import Head, check_scale
from fairloss.heads.sampling import check_rate, sample_classes
from fairloss_ext import cosine_partition, margin_loss
from fairloss_ext.numerics import unit_rows
from fairloss_ext.options import (
    COMPUTE_DTYPES,
    EXTENSIONS,
    KINDS,
    MARGIN_GRADS,
    Extension,
    Kind,
    MarginGrad,
    Reduction,
)


class CosineHead(Head):
    """Class weights on the unit sphere and a margin softmax over them.

    ``loss_i = -log( e^{s phi(theta_y)} / (e^{s phi(theta_y)} + sum_{j != y} e^{s cos theta_j}) )``,
    computed by `fairloss_ext.cosine_partition` and `fairloss_ext.margin_loss`. A subclass says what
    `margins` are, or gives every sample its own (`sample_margins`).

    Args:
        num_classes: C.
        embedding_size: D.
        margins: a number for all classes, or (C,) one a class; with kind "combined" (3,) or (C, 3).
        kind: "arc" (radians), "cos" (cosine), "sphere" (factor on the angle) or "combined".
        scale: s; a buffer, so it may change without recompiling a graph.
        extension, margin_grad: see `fairloss_ext.margin_softmax_loss`.
        reduction: "mean" over the samples that are not ignored, "sum" or "none".
        sample_rate: below 1, a training step compares with the classes of its batch and this
            fraction of the others (`sample_classes`), and the gradient of `weight` is row-sparse:
            take `fairloss.optim.RowSGD`. As in PartialFC the loss is that of the drawn classes,
            not corrected for those left out. In eval mode all classes count.
        sample_seed: which classes are drawn.
        workspace, compute_dtype, fused: memory, precision and kernels, see
            `fairloss_ext.cosine_partition`.

    Attributes:
        weight: (C, D) raw class weights, N(0, 0.01) as in insightface.
        margins, scale: buffers, float32.
        step: buffer, int64, with sampled classes only: forward passes in training mode so far, so
            that a resumed run draws what it would have drawn.
    """

    scaled: ClassVar[bool] = True

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
        compute_dtype: torch.dtype | None = None,
        fused: bool = False,
        **unavailable: Any,
    ) -> None:
        name = type(self).__name__
        for option in unavailable:
            if option == "process_group":
                raise ValueError(f"{option}: {name} cannot share its classes among ranks yet")
            raise TypeError(f"{name} got an unexpected keyword argument {option!r}")
        super().__init__(num_classes, embedding_size, reduction=reduction)
        check_scale(scale)
        check_choice("kind", kind, KINDS)
        check_choice("extension", extension, EXTENSIONS)
        check_choice("margin_grad", margin_grad, MARGIN_GRADS)
        check_choice("compute_dtype", compute_dtype, (None, *COMPUTE_DTYPES))
        check_rate("sample_rate", sample_rate)
        self.kind, self.extension, self.margin_grad = kind, extension, margin_grad
        self.sample_rate, self.sample_seed = sample_rate, sample_seed
        self.workspace, self.compute_dtype, self.fused = workspace, compute_dtype, fused
        self.scale: Tensor
        self.margins: Tensor
        self.step: Tensor
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("margins", self._checked(margins))
        if sample_rate < 1:
            self.register_buffer("step", torch.tensor(0))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        weight: Tensor = self.weight
        margins = self.margins
        if self.training and self.sample_rate < 1:
            weight, margins, labels = self._sampled(labels)
        target_cosine, negative_logsumexp = self.partition(embeddings, weight, labels)
        return self.target_losses(embeddings, target_cosine, negative_logsumexp, labels, margins)

    def target_losses(
        self,
        embeddings: Tensor,
        target_cosine: Tensor,
        negative_logsumexp: Tensor,
        labels: Tensor,
        margins: Tensor,
    ) -> Tensor:
        """(B,) losses from the two numbers of each sample; `margins` are those of the classes."""
        own = self.sample_margins(embeddings, target_cosine, labels)
        return margin_loss(
            target_cosine,
            negative_logsumexp,
            labels,
            margins if own is None else None,
            kind=self.kind,
            scale=self.step_scale(),
            extension=self.extension,
            margin_grad=self.margin_grad,
            sample_margins=own,
        )

    def partition(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Target cosine and log-sum-exp of the other classes, (B,) each."""
        threshold, coefficients = self.hard_negatives(embeddings, weight, labels)
        return cosine_partition(
            embeddings,
            weight,
            labels,
            self.step_scale(),
            hard_threshold=threshold,
            hard_coefficients=coefficients,
            workspace=self.workspace,
            compute_dtype=self.compute_dtype,
            fused=self.fused,
        )

    def hard_negatives(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor | Sequence[float]] | tuple[None, None]:
        """(B,) thresholds above which a negative counts for more, and the curve (a, b, d) it takes.

        See `fairloss_ext.cosine_partition`; (None, None): none does.
        """
        return None, None

    def step_scale(self) -> Tensor:
        """The scale that this step's gradient keeps."""
        return self.scale

    def sample_margins(
        self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor
    ) -> Tensor | None:
        """(B,) or (B, 3) margins of the samples, in place of `margins`; None: those of classes."""
        return None

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C) scaled cosines."""
        weight = self.weight.to(embeddings.dtype)
        return self.scale * F.linear(unit_rows(embeddings), unit_rows(weight))

    def class_margins(self) -> Tensor:
        """`margins`; NaN where they are triples."""
        return super().class_margins() if self.kind == "combined" else self.margins.detach()

    def _sampled(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weight (S, D), margins and labels (B,) of the classes drawn for this step."""
        classes, labels = sample_classes(
            labels, self.num_classes, self.sample_rate, self.step, self.sample_seed
        )
        self.step += 1
        one_for_all = self.margins.dim() == (1 if self.kind == "combined" else 0)
        margins = self.margins if one_for_all else self.margins[classes]
        return F.embedding(classes, self.weight, sparse=True), margins, labels

    def _checked(self, margins: Tensor | float) -> Tensor:
        """`margins` as float32, one for all or one a class."""
        values = torch.as_tensor(margins, dtype=torch.float32).clone()
        one = (3,) if self.kind == "combined" else ()
        if values.shape not in (one, (self.num_classes, *one)):
            raise ValueError(
                f"margins: got shape {tuple(values.shape)}, expected {one} or "
                f"{(self.num_classes, *one)}"
            )
        if not values.isfinite().all():
            raise ValueError(f"margins: got {margins}, expected finite numbers")
        return values

    def extra_repr(self) -> str:
        sampled = f", sample_rate={self.sample_rate:g}" if self.sample_rate < 1 else ""
        return (
            f"{self.num_classes} classes, {self.embedding_size}-d, kind={self.kind}, "
            f"scale={self.scale.item():g}{sampled}"
        )
