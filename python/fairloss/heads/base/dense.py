"""The base of heads that need every logit."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.heads.base.head import Head
from fairloss.heads.base.sample_loss import as_precise
from fairloss_ext._checks import check_range
from fairloss_ext.numerics import full_precision


class DenseHead(Head):
    """Class weights and a loss of all logits: plain torch, (B, C) in memory, not fused.

    So the classes can be neither sampled nor shared among ranks, and `CosineOptions` other than
    the reduction are refused. Logits are float32 (float64 for float64 embeddings), under autocast
    too.
    """

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        check_range("labels", labels, -1, self.num_classes, synchronize=True)
        with full_precision(embeddings.device):
            losses = self.dense_losses(as_precise(embeddings), labels.clamp(min=0))
        return torch.where(labels >= 0, losses, 0)

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses of embeddings in float32 or float64, where every label is a class."""
        return F.cross_entropy(self.plain_logits(embeddings), labels, reduction="none")

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute ``W x``, (B, C)."""
        return F.linear(embeddings, self.weight.to(embeddings.dtype))
