"""The base of regularizers that follow the centers of the classes."""

import torch
from torch import Tensor

from fairloss.checks import check_integer, check_number
from fairloss.heads.base.sample_loss import SampleLoss
from fairloss_ext.options import Reduction


class ClassCenters(SampleLoss):
    """Class centers that follow the training batches, and a weight on the loss.

    Args:
        num_classes: C.
        embedding_size: D.
        weight: factor on the loss.
        alpha: rate of the centers.
        reduction: see `SampleLoss`.
        ignore_index: see `SampleLoss`.

    Attributes:
        centers: (C, D) from 0, a buffer.
    """

    moving = ("centers",)
    remembered_passes = 4  # of (C, D) each
    centers: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        weight: float,
        alpha: float,
        reduction: Reduction,
        ignore_index: int,
    ) -> None:
        check_number("alpha", alpha, 0, 1)
        super().__init__(reduction, ignore_index)
        self.weight, self.alpha = weight, alpha
        shape = (
            check_integer("num_classes", num_classes),
            check_integer("embedding_size", embedding_size),
        )
        self.register_state("centers", 0.0, shape)

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.centers.shape[1]

    def updated_centers(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute ``c_j - alpha sum_{y = j} (c_j - x) / (1 + n_j)``, (C, D), the paper's rule.

        Differentiable in the embeddings. A non-finite embedding is left out: the center of its
        class would never be finite again.
        """
        centers = self.centers.to(torch.promote_types(self.centers.dtype, embeddings.dtype))
        counted = ((labels >= 0) & embeddings.isfinite().all(dim=1))[:, None]
        classes, zeros = labels.clamp(min=0), torch.zeros_like(centers)
        count = zeros[:, :1].index_add(0, classes, counted.to(centers.dtype))
        rows = torch.where(counted, embeddings, 0).to(centers.dtype)
        total = zeros.index_add(0, classes, rows)
        return centers - self.alpha * (count * centers - total) / (1 + count)
