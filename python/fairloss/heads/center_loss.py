"""Center loss: embeddings near the center of their class."""

import torch
from torch import Tensor

from fairloss.heads.base import ClassCenters, as_precise, gather_ranks
from fairloss_ext._checks import check_range
from fairloss_ext.options import Reduction


class CenterLoss(ClassCenters):
    """``weight / 2 |x - c_y|^2`` (Wen et al., ECCV 2016); weight 0.003, alpha 0.5.

    After each training batch ``c_j <- c_j - alpha sum_{y = j} (c_j - x) / (1 + n_j)``, outside of
    the gradient; the paper's rule, where many re-implementations make the centers parameters.

    Args and state: see `ClassCenters`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        weight: float = 0.003,
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

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        check_range("labels", labels, -1, len(self.centers), synchronize=True)
        embeddings = as_precise(embeddings)
        difference = embeddings - self.centers[labels.clamp(min=0)]
        if self.training:
            batch = gather_ranks(embeddings, labels)
            self._update("centers", self.updated_centers(*batch))
        return torch.where(labels >= 0, self.weight / 2 * difference.square().sum(dim=1), 0)
