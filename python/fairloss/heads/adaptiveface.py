"""AdaptiveFace: a learned margin for every class."""

import torch
from torch import Tensor, nn

from fairloss.deprecation import RenamedAttribute, renamed_keywords
from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class AdaptiveFace(CosineHead):
    """``s (cos theta - m_y)`` with learned margins, and ``+ lambda (1 - mean_c m_c)``.

    (Liu et al., AdaptiveFace's AdaM-Softmax, CVPR 2019.) Defaults are FaceX-Zoo's: first margins
    uniform in (0.3, 0.4), clamped to [0, 1] before each use, lambda 70, s = 64. The mean counts
    every class alike and is added to every sample's loss. The survey arXiv 2212.13038 prints an arc
    form.

    Args:
        num_classes: C.
        embedding_size: D.
        regularizer: lambda.
        options: see `CosineOptions`.

    Attributes:
        margins: parameter, (C,).
    """

    regulariser = RenamedAttribute("regularizer")

    @renamed_keywords(regulariser="regularizer")
    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        regularizer: float = 70.0,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.35, kind="cos", **options)
        self.register_state("margins", 0.35, (num_classes,), learned=True)
        nn.init.uniform_(self.margins, 0.3, 0.4)
        self.regularizer = regularizer

    def reset_parameters(self) -> None:
        """Draw weights and margins anew."""
        super().reset_parameters()
        nn.init.uniform_(self.margins, 0.3, 0.4)

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses with the regularizer, 0 where the label is -1."""
        if self.training:
            with torch.no_grad():
                self.margins.clamp_(0, 1)
        penalty = self.regularizer * (1 - self.margins.mean())
        return super().losses(embeddings, labels) + torch.where(labels >= 0, penalty, 0)
