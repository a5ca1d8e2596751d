"""Virtual Softmax: one more negative class, in the direction of the embedding."""

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.heads.base import DenseHead


class VirtualSoftmax(DenseHead):
    """Cross-entropy of ``W x`` and one more negative, ``|W_y| |x|`` (Chen et al., NeurIPS 2018).

    That is the logit of a virtual class along x itself; no bias. Its gradient reaches W_y and x.

    Args: see `Head`.
    """

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the cross-entropy over C + 1 logits, (B,)."""
        logits = self.plain_logits(embeddings)
        targets = self.weight[labels].to(embeddings.dtype)
        virtual = targets.norm(dim=1, keepdim=True) * embeddings.norm(dim=1, keepdim=True)
        return F.cross_entropy(torch.cat([logits, virtual], dim=1), labels, reduction="none")
