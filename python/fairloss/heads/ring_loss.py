"""Ring loss: embeddings of one learned length."""

import torch
from torch import Tensor

from fairloss.heads.base import SampleLoss, as_precise, gather_ranks, masked_mean
from fairloss.ranks import num_ranks
from fairloss_ext.options import Reduction


class RingLoss(SampleLoss):
    """``weight / 2 (|x| - R)^2`` with a learned R (Zheng et al., CVPR 2018); weight 0.01.

    Args:
        weight: factor on the loss.
        reduction: see `SampleLoss`.
        ignore_index: see `SampleLoss`.

    Attributes:
        radius: parameter R, negative until the first training batch sets it to its mean norm, as in
            the authors' code.
    """

    radius: Tensor

    def __init__(
        self, *, weight: float = 0.01, reduction: Reduction = "mean", ignore_index: int = -1
    ) -> None:
        super().__init__(reduction, ignore_index)
        self.weight = weight
        self.register_state("radius", -1.0, learned=True)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        norm = torch.linalg.vector_norm(as_precise(embeddings), dim=1)
        labeled = labels >= 0
        counted = labeled & norm.isfinite()  # the radius would stay NaN
        with torch.no_grad():
            lengths = norm.detach()
            # All ranks have the same radius, and take part while it is not set.
            if self.training and num_ranks() > 1 and bool(self.radius < 0):
                lengths, counted = gather_ranks(norm, counted)
            first = (self.radius < 0) & counted.any()
            mean = masked_mean(lengths, counted).to(self.radius.dtype)
            radius = torch.where(first, mean, self.radius)
            if self.training:
                self.radius.copy_(radius)
            change = 0 if self.training else radius - self.radius
        difference = norm - self.radius - change
        return torch.where(labeled, self.weight / 2 * difference**2, 0)
