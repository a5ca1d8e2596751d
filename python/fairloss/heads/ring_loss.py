"""Ring loss: embeddings of one learned length."""

import torch
from torch import Tensor, nn

from fairloss.heads.base import SampleLoss, as_precise, masked_mean
from fairloss_ext.options import Reduction


class RingLoss(SampleLoss):
    """``weight / 2 (|x| - R)^2`` with a learned R (Zheng et al., CVPR 2018); weight 0.01.

    Args:
        weight: factor on the loss.
        reduction: see `SampleLoss`.
        ignore_index: see `SampleLoss`.

    Attributes:
        radius: parameter R, negative until the first batch sets it to its mean norm, as in the
            authors' code.
    """

    def __init__(
        self, *, weight: float = 0.01, reduction: Reduction = "mean", ignore_index: int = -1
    ) -> None:
        super().__init__(reduction, ignore_index)
        self.weight = weight
        self.radius = nn.Parameter(torch.tensor(-1.0))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        norm = torch.linalg.vector_norm(as_precise(embeddings), dim=1)
        labeled = labels >= 0
        counted = labeled & norm.isfinite()  # the radius would stay NaN
        with torch.no_grad():
            first = (self.radius < 0) & counted.any()
            self.radius.copy_(torch.where(first, masked_mean(norm, counted), self.radius))
        return torch.where(labeled, self.weight / 2 * (norm - self.radius) ** 2, 0)
