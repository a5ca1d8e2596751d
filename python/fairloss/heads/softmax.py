"""Softmax: cross-entropy of linear logits."""

import torch
from torch import Tensor, nn

from fairloss.heads.base import DenseHead, HeadOptions, Unpack


class Softmax(DenseHead):
    """Cross-entropy of ``W x + b``: no margin, nothing normalized.

    Args:
        num_classes: C.
        embedding_size: D.
        options: see `HeadOptions`.

    Attributes:
        bias: parameter b, (C,), from 0.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, **options: Unpack[HeadOptions]
    ) -> None:
        super().__init__(num_classes, embedding_size, **options)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def reset_parameters(self) -> None:
        """Draw the weights anew; the bias becomes 0."""
        super().reset_parameters()
        nn.init.zeros_(self.bias)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute ``W x + b``, (B, C)."""
        return super().plain_logits(embeddings) + self.bias
