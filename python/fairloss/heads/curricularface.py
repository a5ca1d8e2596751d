"""CurricularFace: ArcFace, and hard negatives that count for more as training proceeds."""

import torch
from torch import Tensor

from fairloss.checks import check_number
from fairloss.heads.base import (
    CosineOptions,
    HardNegativeHead,
    Unpack,
    masked_mean,
)


class CurricularFace(HardNegativeHead):
    """ArcFace, and ``cos theta_j > cos(theta_y + m)`` becomes ``cos theta_j (t + cos theta_j)``.

    (Huang et al., CVPR 2020; m = 0.5, s = 64, momentum 0.99.) In training, before each use,
    ``t <- 0.99 t + 0.01 mean(cos theta_y)``; the survey arXiv 2212.13038 prints the two weights
    swapped. Beyond theta_y + m = pi the authors' threshold rises again; ours is the extended
    target.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        momentum: weight of the old t.
        options: see `CosineOptions`.

    Attributes:
        t: buffer.
    """

    moving = (*HardNegativeHead.moving, "t")
    t: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        *,
        momentum: float = 0.99,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_number("momentum", momentum, 0, 1)
        super().__init__(num_classes, embedding_size, margin, kind="arc", **options)
        self.momentum = momentum
        self.register_state("t", 0.0)

    def coefficients(self, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """Update t and return (1, t, 0)."""
        counted = (labels >= 0) & target_cosine.isfinite()  # NaN would stay in t
        if self.training:
            cosines, counted = self.gather_ranks(target_cosine, counted)
            mean = masked_mean(cosines, counted).to(self.t.dtype)
            t = torch.where(counted.any(), mean, self.t)
            self._update("t", self.t.lerp(t, 1 - self.momentum))
        return torch.stack([torch.ones_like(self.t), self.t, torch.zeros_like(self.t)])
