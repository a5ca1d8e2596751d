"""AdaCos: no margin, and a scale that follows the batch."""

import math

import torch
from torch import Tensor

from fairloss.heads.base import CosineHead, Unpack, UnscaledOptions


class AdaCos(CosineHead):
    """``s cos theta`` with ``s <- ln B / cos(min(pi/4, median theta_y))`` before each use.

    (Zhang et al., CVPR 2019.) B is the batch mean of ``sum_{j != y} e^{s cos theta_j}`` at the
    scale before; s starts at ``sqrt(2) ln(C - 1)``. The new scale needs the classes a second time,
    so a training step costs one forward pass more. Both formulas can give 0 and less (C = 2): s
    stays at least 1, our choice. With sampled classes B is that of the classes drawn. The median of
    an even number of angles is the lower, as in torch.

    Args:
        num_classes: C.
        embedding_size: D.
        dynamic: False keeps the first scale, the paper's fixed AdaCos.
        options: see `CosineOptions`; there is no `scale`.

    Attributes:
        scale: buffer, s.
    """

    scaled = False
    moving = (*CosineHead.moving, "scale")

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        dynamic: bool = True,
        **options: Unpack[UnscaledOptions],
    ) -> None:
        scale = max(1.0, math.sqrt(2) * math.log(max(num_classes - 1, 1)))
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", scale=scale, **options)
        self.dynamic = dynamic

    def partition(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Compute target cosine and log-sum-exp of the other classes at the new scale."""
        if self.dynamic and self.training:
            with torch.no_grad():
                batch = *super().partition(embeddings, weight, labels, first), labels >= 0
                self._update_scale(*self.gather_ranks(*batch))
        return super().partition(embeddings, weight, labels, first)

    def step_scale(self) -> Tensor:
        """Return a copy: the next forward pass may come before this one's backward pass."""
        return self.scale.clone()

    def _update_scale(
        self, target_cosine: Tensor, negative_logsumexp: Tensor, labeled: Tensor
    ) -> None:
        log_total = negative_logsumexp.masked_fill(~labeled, -math.inf).logsumexp(dim=0)
        log_mean = log_total - labeled.sum().to(log_total.dtype).log()
        angles = torch.acos(target_cosine.clamp(-1, 1)).masked_fill(~labeled, math.nan)
        scale = log_mean / torch.cos(angles.nanmedian().clamp(max=math.pi / 4))
        # Not with a non-finite sample, nor without a labeled one or another class.
        self._update("scale", torch.where(scale.isfinite(), scale.clamp(min=1), self.scale))
