"""NPT-Loss: a triplet hinge with class weights as proxies."""

import math

from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import check_number, check_positive
from fairloss.heads.base import DenseHead, HeadOptions, Unpack


class NPTLoss(DenseHead):
    """``2 r max(0, max_{j != y} cos theta_j - cos theta_y + m)``: nearest proxies triplet.

    (Khalid et al., TPAMI 2023; r = 1, m = 0.5.) No softmax. The authors' code zeroes the target
    before the maximum, so theirs is never below 0; ours is the hardest negative's.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        r: half the factor on the hinge.
        options: see `HeadOptions`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        *,
        r: float = 1.0,
        **options: Unpack[HeadOptions],
    ) -> None:
        check_number("margin", margin)
        check_positive("r", r)
        super().__init__(num_classes, embedding_size, **options)
        self.margin, self.r = margin, r

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the hinge of the hardest negative, (B,)."""
        cosine = self.plain_logits(embeddings)
        target = cosine.gather(1, labels[:, None]).squeeze(1)
        hardest = cosine.scatter(1, labels[:, None], -math.inf).amax(dim=1)
        return 2 * self.r * F.relu(hardest - target + self.margin)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute cosines, (B, C)."""
        return self.cosines(embeddings)
