"""UniformFace: class centers far from each other."""

import torch
from torch import Tensor, nn

from fairloss.checks import expect
from fairloss.deprecation import RenamedAttribute
from fairloss.heads.base import ClassCenters, as_precise
from fairloss.ranks import num_ranks
from fairloss_ext._checks import check_range
from fairloss_ext.options import Reduction


class UniformFace(ClassCenters):
    """``weight / (C (C - 1)) sum_{i != j} 1 / |c_i - c_j|``: class centers far apart.

    (Duan et al., CVPR 2019.) Centers are updated as in `CenterLoss`, and the loss is that of the
    updated ones, through which its gradient reaches the batch: our reading. It is the same for
    every labeled sample of a batch, and takes C (C - 1) / 2 distances. weight = 1 is our default;
    the paper's could not be had. Centers start from N(0, 1).

    Args and state: see `ClassCenters`.
    """

    MIN_DISTANCE = 1e-3  # shorter ones count as this: equal centers must not cost infinity
    CLOSEST = RenamedAttribute("MIN_DISTANCE")

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        weight: float = 1.0,
        alpha: float = 0.5,
        reduction: Reduction = "mean",
        ignore_index: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            embedding_size,
            weight=weight,
            alpha=alpha,
            reduction=reduction,
            ignore_index=ignore_index,
        )
        nn.init.normal_(self.centers)

    def reset_parameters(self) -> None:
        """Draw the centers anew."""
        super().reset_parameters()
        nn.init.normal_(self.centers)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        check_range("labels", labels, -1, len(self.centers), synchronize=True)
        centers: Tensor = self.centers
        if self.training:
            one = "one rank, as UniformFace averages no gradients of centers over ranks"
            expect(num_ranks() == 1, "torch.distributed", one, num_ranks())
            centers = self.updated_centers(as_precise(embeddings), labels)
            self._update("centers", centers)
        pairs = max(len(centers) * (len(centers) - 1) // 2, 1)
        inverse = 1 / torch.pdist(centers).clamp(min=self.MIN_DISTANCE)
        return torch.where(labels >= 0, self.weight / pairs * inverse.sum(), 0)
