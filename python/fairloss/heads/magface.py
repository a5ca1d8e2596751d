"""MagFace: a margin that grows with the norm of the embedding, and a regularizer of the norm."""

import torch
from torch import Tensor

from fairloss.checks import check_number, expect
from fairloss.deprecation import RenamedAttribute, renamed_keywords
from fairloss.heads.base import CosineHead, CosineOptions, NormHead, Unpack, as_precise


class MagFace(NormHead):
    """``s cos(theta + m(a))`` and ``+ lambda (a / u^2 + 1 / a)``, with ``a = clip(|x|, l, u)``.

    (Meng et al., CVPR 2021.) m(a) is linear, from 0.45 at l = 10 to 0.8 at u = 110;
    lambda is 35, s is 64. The margin is differentiable: its gradient reaches the norm.
    extension="easy" (no margin where ``cos theta <= 0``) is the default of the authors' code, and
    here. A backbone that normalizes passes ``norms=`` as to `AdaFace`.

    Args:
        num_classes: C.
        embedding_size: D.
        margins_at: m(a) at l and at u.
        norms_at: l and u.
        regularizer: lambda.
        options: see `CosineOptions`.
    """

    defaults = CosineHead.defaults | {"extension": "easy"}

    regulariser = RenamedAttribute("regularizer")

    @renamed_keywords(regulariser="regularizer")
    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margins_at: tuple[float, float] = (0.45, 0.8),
        norms_at: tuple[float, float] = (10.0, 110.0),
        regularizer: float = 35.0,
        **options: Unpack[CosineOptions],
    ) -> None:
        for margin in margins_at:
            check_number("margins_at", margin)
        ascending = 0 < norms_at[0] < norms_at[1]
        expect(ascending, "norms_at", "two ascending positive numbers", norms_at)
        super().__init__(num_classes, embedding_size, margins_at[0], kind="arc", **options)
        self.margins_at, self.norms_at, self.regularizer = margins_at, norms_at, regularizer

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses with the regularizer, 0 where the label is -1."""
        a = self._clipped_norm(embeddings)
        penalty = self.regularizer * (a / self.norms_at[1] ** 2 + 1 / a)
        return super().losses(embeddings, labels) + torch.where(labels >= 0, penalty, 0)

    def sample_margins(self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """Compute m(a), (B,), in radians."""
        (lower, upper), (low, high) = self.norms_at, self.margins_at
        return low + (high - low) / (upper - lower) * (self._clipped_norm(embeddings) - lower)

    def class_margins(self) -> Tensor:
        """Return NaN: margins belong to samples."""
        return torch.tensor(torch.nan)

    def _clipped_norm(self, embeddings: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(as_precise(embeddings), dim=1)
        return norm.clamp(*self.norms_at)
