"""Ring loss: embeddings of one learned length."""

import torch
from torch import Tensor

from fairloss.heads.base import SampleLoss, as_precise, gather_ranks
from fairloss_ext.options import Reduction


class RingLoss(SampleLoss):
    """``weight / 2 (|x| - R)^2`` with a learned R (Zheng et al., CVPR 2018); weight 0.01.

    Args:
        weight: factor on the loss.
        reduction: see `SampleLoss`.

    Attributes:
        radius: parameter R, negative until the first training batch sets it to its mean norm, as in
            the authors' code.
    """

    radius: Tensor

    def __init__(self, *, weight: float = 0.01, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.weight = weight
        self.register_state("radius", -1.0, learned=True)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        norm = torch.linalg.vector_norm(as_precise(embeddings), dim=1)
        labeled = labels >= 0
        counted = labeled & norm.isfinite()  # the radius would stay NaN
        radius: Tensor = self.radius
        if radius < 0:
            lengths = norm.detach()[counted]
            lengths = gather_ranks(lengths) if self.training else lengths
            mean = lengths.mean() if len(lengths) else radius.detach()
            radius = radius + (mean - radius.detach())
            if self.training:
                self.radius.data.copy_(mean)
        return torch.where(labeled, self.weight / 2 * (norm - radius) ** 2, 0)
