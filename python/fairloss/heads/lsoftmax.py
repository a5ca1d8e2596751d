"""L-Softmax: a factor on the target's angle, nothing normalized."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import expect
from fairloss.deprecation import RenamedAttribute
from fairloss.heads.base import DenseHead, HeadOptions, Unpack
from fairloss_ext.numerics import unit_rows


class LSoftmax(DenseHead):
    """Cross-entropy of ``W x`` with ``|W_y| |x| (lambda cos theta + psi(theta)) / (1 + lambda)``.

    (Liu et al., ICML 2016.) ``psi = (-1)^k cos(m theta) - 2k`` on [k pi/m, (k+1) pi/m]; m is 2, 3
    or 4 in the paper. Nothing is normalized. At training step k, from 1,
    ``lambda = max(lowest, base (1 + gamma k)^-power)``; defaults are those of the authors' Caffe
    example.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m, a positive integer.
        base: of lambda.
        gamma: of lambda.
        power: of lambda.
        lowest: of lambda.
        options: see `HeadOptions`.

    Attributes:
        step: buffer, training steps so far.
    """

    moving = ("step",)
    margin: int
    step: Tensor
    class_rows = RenamedAttribute("class_weights")

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: int = 4,
        *,
        base: float = 1000.0,
        gamma: float = 0.000025,
        power: float = 35.0,
        lowest: float = 0.0,
        **options: Unpack[HeadOptions],
    ) -> None:
        expect(margin >= 1 and margin % 1 == 0, "margin", "a positive integer", margin)
        super().__init__(num_classes, embedding_size, **options)
        self.margin = int(margin)
        self.base, self.gamma, self.power, self.lowest = base, gamma, power, lowest
        self.register_count("step")

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the cross-entropy with the lowered target, (B,)."""
        self._update("step", self.step + int(self.training))
        weight = self.class_weights(embeddings.dtype)
        logits = F.linear(embeddings, weight)
        targets = weight[labels]
        cosine = (unit_rows(embeddings) * unit_rows(targets)).sum(dim=1)
        length = embeddings.norm(dim=1) * targets.norm(dim=1)
        ease = self.ease()
        lowered = length * (ease * cosine + psi(cosine, self.margin)) / (1 + ease)
        logits = logits.scatter(1, labels[:, None], lowered[:, None])
        return F.cross_entropy(logits, labels, reduction="none")

    def class_weights(self, dtype: torch.dtype) -> Tensor:
        """Return the (C, D) weights of the logits."""
        return self.weight.to(dtype)

    def ease(self) -> Tensor:
        """Compute lambda, the weight of the plain cosine, at the current step."""
        decayed = self.base * (1 + self.gamma * self.step) ** -self.power
        return decayed.clamp(min=self.lowest).float()

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute ``W x``, (B, C)."""
        return F.linear(embeddings, self.class_weights(embeddings.dtype))


def psi(cosine: Tensor, m: int) -> Tensor:
    """Compute ``(-1)^k cos(m theta) - 2k`` with ``k = floor(m theta / pi)``, elementwise.

    cos(m theta) by Chebyshev's recurrence: its slope is finite where that of acos is not.
    """
    previous, multiple = torch.ones_like(cosine), cosine
    for _ in range(m - 1):
        previous, multiple = multiple, 2 * cosine * multiple - previous
    k = torch.floor(m * torch.acos(cosine.detach().clamp(-1, 1)) / math.pi)
    return (1 - 2 * (k % 2)) * multiple - 2 * k
