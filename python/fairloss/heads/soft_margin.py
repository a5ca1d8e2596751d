"""Soft-margin softmax: a margin taken off the target's logit."""

from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import check_number
from fairloss.heads.base import DenseHead, HeadOptions, Unpack


class SoftMargin(DenseHead):
    """Cross-entropy of ``W x`` with ``W_y x - m`` for the target (Liang et al., ICONIP 2017).

    Nothing is normalized. m = 0.5 is our default.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        options: see `HeadOptions`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        **options: Unpack[HeadOptions],
    ) -> None:
        check_number("margin", margin, 0)
        super().__init__(num_classes, embedding_size, **options)
        self.margin = margin

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the cross-entropy with the lowered target, (B,)."""
        logits = self.plain_logits(embeddings)
        lowered = logits - self.margin * F.one_hot(labels, self.num_classes)
        return F.cross_entropy(lowered, labels, reduction="none")
