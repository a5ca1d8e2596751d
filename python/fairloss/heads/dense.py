"""The base of heads that need every logit, and the plain softmaxes on it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairloss.heads.head import Head, check_labels, check_number, check_scale, precise
from fairloss_ext.numerics import full_precision, unit_rows
from fairloss_ext.options import Reduction

_ONLY_COSINE = {
    "sample_rate": "compare with a sample of the classes",
    "sample_seed": "compare with a sample of the classes",
    "process_group": "share its classes among ranks",
    "workspace": "bound its memory",
    "compute_dtype": "compute in another precision",
    "fused": "take fused kernels",
}


class DenseHead(Head):
    """Class weights and a loss of all logits: plain torch, (B, C) in memory, not fused.

    So the classes can be neither sampled nor shared among ranks, and `CosineHead`'s options for
    that are refused. Logits are float32 (float64 for float64 embeddings), under autocast too.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        reduction: Reduction = "mean",
        **unavailable: Any,
    ) -> None:
        name = type(self).__name__
        for option in unavailable:
            if option in _ONLY_COSINE:
                raise ValueError(f"{option}: {name} cannot {_ONLY_COSINE[option]} (a DenseHead)")
            raise TypeError(f"{name} got an unexpected keyword argument {option!r}")
        super().__init__(num_classes, embedding_size, reduction=reduction)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        check_labels(labels, self.num_classes)
        with full_precision(embeddings.device):
            losses = self.dense_losses(precise(embeddings), labels.long().clamp(min=0))
        return torch.where(labels >= 0, losses, 0)

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses of embeddings in float32 or float64, every label a class."""
        return F.cross_entropy(self.plain_logits(embeddings), labels, reduction="none")

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C): ``W x``."""
        return F.linear(embeddings, self.weight.to(embeddings.dtype))

    def cosines(self, embeddings: Tensor) -> Tensor:
        """(B, C)."""
        return F.linear(unit_rows(embeddings), unit_rows(self.weight.to(embeddings.dtype)))

    def extra_repr(self) -> str:
        return f"{self.num_classes} classes, {self.embedding_size}-d"


class Softmax(DenseHead):
    """Cross-entropy of ``W x + b``: no margin, nothing normalised."""

    def __init__(self, num_classes: int, embedding_size: int, **options: Any) -> None:
        super().__init__(num_classes, embedding_size, **options)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C): ``W x + b``."""
        return super().plain_logits(embeddings) + self.bias


class L2Softmax(Softmax):
    """Cross-entropy of ``s W x / |x| + b``: features of length s (Ranjan et al., 2017).

    Weights and bias are ordinary. A target probability p needs at least
    ``s = ln(p (C - 2) / (1 - p))``; 32 is our default.

    Args:
        learn_scale: make `scale` a parameter. The paper finds a fixed one better.
    """

    scaled: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        scale: float = 32.0,
        learn_scale: bool = False,
        **options: Any,
    ) -> None:
        check_scale(scale)
        super().__init__(num_classes, embedding_size, **options)
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(float(scale)))
        if learn_scale:
            self.scale = nn.Parameter(self.scale)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C): ``s W x / |x| + b``."""
        return super().plain_logits(self.scale * unit_rows(embeddings))


class SoftMargin(DenseHead):
    """Cross-entropy of ``W x`` with ``W_y x - m`` for the target (Liang et al., ICONIP 2017).

    Nothing is normalised. m = 0.5 is our default.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, margin: float = 0.5, **options: Any
    ) -> None:
        check_number("margin", margin, 0)
        super().__init__(num_classes, embedding_size, **options)
        self.margin = margin

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        logits = self.plain_logits(embeddings)
        lowered = logits - self.margin * F.one_hot(labels, self.num_classes)
        return F.cross_entropy(lowered, labels, reduction="none")

    def class_margins(self) -> Tensor:
        """(): on the logit."""
        return torch.tensor(self.margin)


class VirtualSoftmax(DenseHead):
    """Cross-entropy of ``W x`` and one more negative, ``|W_y| |x|`` (Chen et al., NeurIPS 2018).

    That is the logit of a virtual class along x itself; no bias. Its gradient reaches W_y and x.
    """

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        logits = self.plain_logits(embeddings)
        own = self.weight[labels].to(embeddings.dtype)
        virtual = _length(own) * _length(embeddings)
        return F.cross_entropy(torch.cat([logits, virtual], dim=1), labels, reduction="none")


def _length(rows: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return length
