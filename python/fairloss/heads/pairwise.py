"""Heads that compare target and negatives one by one, without a softmax."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fairloss.checks import check_choice
from fairloss.heads.dense import DenseHead
from fairloss.heads.head import check_number, check_scale
from fairloss_ext.options import MARGIN_GRADS, MarginGrad


class SphereFace2(DenseHead):
    """One binary task a class: is it this one? (Wen et al., SphereFace2-C, ICLR 2022.)

    ``w alpha softplus(-s (g_y - m) - b) + w (1 - alpha) sum_{j != y} softplus(s (g_j + m) + b)``,
    where ``g = 2 ((cos theta + 1) / 2)^t - 1``; s = 40 (r in the paper), m = 0.4, t = 3,
    alpha = 0.7, w = 50 / s. OpenSphere writes the same as 50 C / s times the mean over B C terms,
    and takes the slope of g as 1: margin_grad="straight_through". The default here is the
    formula's own.

    State: bias b, a parameter, first the best one for cosines of 0.
    """

    scaled: ClassVar[bool] = True

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
        margin_grad: MarginGrad = "exact",
        **options: Any,
    ) -> None:
        check_scale(scale)
        check_choice("margin_grad", margin_grad, MARGIN_GRADS)
        check_number("margin", margin)
        if not t > 0:
            raise ValueError(f"t: got {t}, expected a positive number")
        if not 0 < alpha < 1:
            raise ValueError(f"alpha: got {alpha}, allowed is (0, 1)")
        super().__init__(num_classes, embedding_size, **options)
        self.margin, self.scale, self.t, self.alpha = margin, scale, t, alpha
        self.loss_weight, self.margin_grad = loss_weight, margin_grad
        self.bias = nn.Parameter(torch.tensor(self._stationary_bias()))

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        logits = self.plain_logits(embeddings)
        is_target = F.one_hot(labels, self.num_classes).to(logits.dtype)
        share = (1 - self.alpha) + (2 * self.alpha - 1) * is_target
        gap = (1 - 2 * is_target) * logits + self.scale * self.margin
        return self.loss_weight / self.scale * (share * F.softplus(gap)).sum(dim=1)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C): ``s g(cos theta) + b``."""
        cosine = self.cosines(embeddings)
        # Rounding puts a cosine below -1, where a power of a negative number is none.
        adjusted = 2 * ((cosine + 1) / 2).clamp(min=0) ** self.t - 1
        if self.margin_grad == "straight_through":
            adjusted = cosine + (adjusted - cosine).detach()
        return self.scale * adjusted + self.bias

    def class_margins(self) -> Tensor:
        """(): on the adjusted cosine."""
        return torch.tensor(self.margin)

    def _stationary_bias(self) -> float:
        """b at which the loss of all-zero cosines has no slope in b, the authors' closed form."""
        ratio = self.alpha / ((1 - self.alpha) * max(self.num_classes - 1, 1))
        zero: float = 2 * 0.5**self.t - 1
        own, other = self.scale * (zero - self.margin), self.scale * (zero + self.margin)
        root = math.sqrt((1 - ratio) ** 2 + 4 * ratio * math.exp(own - other))
        if ratio > 1:  # the same, where 1 - ratio + root would cancel to 0
            return math.log((ratio - 1 + root) / 2) - own
        return math.log(2 * ratio) - other - math.log(1 - ratio + root)


class UniFace(DenseHead):
    """``softplus(b - s (cos theta_y - m)) + l sum_{j != y} softplus(s cos theta_j - b)``.

    (Zhou et al., ICCV 2023; s = 64, m = 0.4, l = 1.) One bias b for all classes, from ln(10 C).

    State: bias b, a parameter.
    """

    scaled: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        *,
        scale: float = 64.0,
        negative_weight: float = 1.0,
        **options: Any,
    ) -> None:
        check_scale(scale)
        check_number("margin", margin)
        check_number("negative_weight", negative_weight, 0)
        super().__init__(num_classes, embedding_size, **options)
        self.margin, self.scale, self.negative_weight = margin, scale, negative_weight
        self.bias = nn.Parameter(torch.tensor(math.log(10 * num_classes)))

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        logits = self.plain_logits(embeddings)
        is_target = F.one_hot(labels, self.num_classes).bool()
        own = F.softplus(self.scale * self.margin - logits[is_target])
        others = F.softplus(logits).masked_fill(is_target, 0).sum(dim=1)
        return own + self.negative_weight * others

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C): ``s cos theta - b``."""
        return self.scale * self.cosines(embeddings) - self.bias

    def class_margins(self) -> Tensor:
        """(): on the cosine."""
        return torch.tensor(self.margin)


class NPTLoss(DenseHead):
    """``2 r max(0, max_{j != y} cos theta_j - cos theta_y + m)``: nearest proxies triplet.

    (Khalid et al., TPAMI 2023; r = 1, m = 0.5.) No softmax. The authors' code zeroes the target
    before the maximum, so theirs is never below 0; ours is the hardest negative's.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        *,
        r: float = 1.0,
        **options: Any,
    ) -> None:
        check_number("margin", margin)
        if not r > 0:
            raise ValueError(f"r: got {r}, expected a positive number")
        super().__init__(num_classes, embedding_size, **options)
        self.margin, self.r = margin, r

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        cosine = self.plain_logits(embeddings)
        own = cosine.gather(1, labels[:, None]).squeeze(1)
        hardest = cosine.scatter(1, labels[:, None], -math.inf).amax(dim=1)
        return 2 * self.r * F.relu(hardest - own + self.margin)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C) cosines."""
        return self.cosines(embeddings)

    def class_margins(self) -> Tensor:
        """(): on the cosine."""
        return torch.tensor(self.margin)
