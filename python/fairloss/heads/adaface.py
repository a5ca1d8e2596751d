"""AdaFace: a margin that depends on the norm of the embedding."""

import math

import torch
from torch import Tensor

from fairloss.checks import check_number
from fairloss.heads.base import (
    CosineOptions,
    NormHead,
    Unpack,
    as_precise,
    masked_mean,
)


class AdaFace(NormHead):
    """``s (cos(theta + g_angle) - g_add)``, ``g_angle = -m z``, ``g_add = m z + m``.

    (Kim et al., CVPR 2022; m = 0.4, h = 0.333, s = 64.)
    ``z = clip(h (|x| - mean) / (std + 1e-3), -1, 1)`` with |x| clipped to [0.001, 100] and mean and
    std moving averages over batches; z is a constant of the gradient. As in the authors' code
    theta + g_angle is clipped to [1e-3, pi - 1e-3]. There the gradient is 0 where it is clipped;
    here the slope that is left at the end of the range, at most 1e-3 / sin theta. A backbone that
    normalizes passes unit vectors and their former lengths: ``head(x, labels, norms=norms)``.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        h: factor on the standardized norm.
        momentum: weight of a new batch in the averages. 0.01 is that of the authors' scripts; their
            class defaults to 1, no average at all.
        options: see `CosineOptions`.

    Attributes:
        norm_mean: buffer, from 20, updated in training.
        norm_std: buffer, from 100, updated in training.
    """

    moving = (*NormHead.moving, "norm_mean", "norm_std")
    norm_mean: Tensor
    norm_std: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        *,
        h: float = 0.333,
        momentum: float = 0.01,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_number("momentum", momentum, 0, 1)
        triple = (1.0, 0.0, margin)  # that of a sample with z = 0
        super().__init__(num_classes, embedding_size, triple, kind="combined", **options)
        self.margin, self.h, self.momentum = margin, h, momentum
        self.register_state("norm_mean", 20.0)
        self.register_state("norm_std", 100.0)

    @torch.no_grad()
    def sample_margins(self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """Compute ``(1, g_angle, g_add)``, (B, 3)."""
        length = torch.linalg.vector_norm(as_precise(embeddings), dim=1)
        norm = length.clamp(0.001, 100)
        if self.training:
            # A non-finite norm would make all later averages non-finite.
            self._update_averages(norm, (labels >= 0) & length.isfinite())
        z = (self.h * (norm - self.norm_mean) / (self.norm_std + 1e-3)).clamp(-1, 1)
        theta = torch.acos(target_cosine.clamp(-1, 1))
        angle = (theta - self.margin * z).clamp(1e-3, math.pi - 1e-3) - theta
        return torch.stack([torch.ones_like(z), angle, self.margin * (z + 1)], dim=1)

    def _update_averages(self, norm: Tensor, counted: Tensor) -> None:
        norm, counted = self.gather_ranks(norm, counted)
        count, mean = counted.sum(), masked_mean(norm, counted)
        variance = torch.where(counted, (norm - mean).square(), 0).sum() / (count - 1)
        several = count > 1  # one sample has no spread
        for name, new in (("norm_mean", mean), ("norm_std", variance.sqrt())):
            average = self.get_buffer(name)
            target = torch.where(several, new.to(average.dtype), average)
            self._update(name, average.lerp(target, self.momentum))
