"""SphereFace2: one binary classification for every class."""

import math

from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import check_choice, check_number, check_positive
from fairloss.heads.base import DenseHead, HeadOptions, Unpack
from fairloss_ext.options import MARGIN_GRADS, MarginGrad


class SphereFace2(DenseHead):
    """One binary classification for every class (Wen et al., SphereFace2-C, ICLR 2022).

    ``w alpha softplus(-s (g_y - m) - b) + w (1 - alpha) sum_{j != y} softplus(s (g_j + m) + b)``,
    where ``g = 2 ((cos theta + 1) / 2)^t - 1``; s = 40 (r in the paper), m = 0.4, t = 3,
    alpha = 0.7, w = 50 / s. OpenSphere writes the same as 50 C / s times the mean over B C terms,
    and takes the slope of g as 1: margin_grad="straight_through", here the default as in
    `SphereFaceR`. "exact" is the formula's own gradient.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        scale: s.
        t: exponent of g.
        alpha: weight of the target.
        loss_weight: w s.
        margin_grad: "straight_through" or "exact".
        options: see `HeadOptions`.

    Attributes:
        bias: parameter b, (), first the best one for cosines of 0.
    """

    scaled = True
    bias: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        *,
        scale: float = 40.0,
        t: float = 3.0,
        alpha: float = 0.7,
        loss_weight: float = 50.0,
        margin_grad: MarginGrad = "straight_through",
        **options: Unpack[HeadOptions],
    ) -> None:
        check_positive("scale", scale)
        check_choice("margin_grad", margin_grad, MARGIN_GRADS)
        check_number("margin", margin)
        check_positive("t", t)
        check_number("alpha", alpha, 0, 1, open_low=True, open_high=True)
        super().__init__(num_classes, embedding_size, **options)
        self.margin, self.scale, self.t, self.alpha = margin, scale, t, alpha
        self.loss_weight, self.margin_grad = loss_weight, margin_grad
        self.register_state("bias", self._stationary_bias(), learned=True)

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted sums of C binary losses, (B,)."""
        logits = self.plain_logits(embeddings)
        is_target = F.one_hot(labels, self.num_classes).to(logits.dtype)
        share = (1 - self.alpha) + (2 * self.alpha - 1) * is_target
        gap = (1 - 2 * is_target) * logits + self.scale * self.margin
        return self.loss_weight / self.scale * (share * F.softplus(gap)).sum(dim=1)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute ``s g(cos theta) + b``, (B, C)."""
        cosine = self.cosines(embeddings)
        # Rounding may give a cosine below -1, where a real power of a negative number is NaN.
        g = 2 * ((cosine + 1) / 2).clamp(min=0) ** self.t - 1
        if self.margin_grad == "straight_through":
            g = cosine + (g - cosine).detach()
        return self.scale * g + self.bias

    def _stationary_bias(self) -> float:
        """Compute the b at which the loss of all-zero cosines has no slope, a closed form."""
        ratio = self.alpha / ((1 - self.alpha) * max(self.num_classes - 1, 1))
        g: float = 2 * 0.5**self.t - 1
        target, other = self.scale * (g - self.margin), self.scale * (g + self.margin)
        root = math.sqrt((1 - ratio) ** 2 + 4 * ratio * math.exp(target - other))
        if ratio > 1:  # the same, where 1 - ratio + root would cancel to 0
            return math.log((ratio - 1 + root) / 2) - target
        return math.log(2 * ratio) - other - math.log(1 - ratio + root)
