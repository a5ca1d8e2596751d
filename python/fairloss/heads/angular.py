"""Margins that multiply the angle, in their original form: L-Softmax and SphereFace."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.heads.dense import DenseHead
from fairloss_ext.numerics import unit_rows


class LSoftmax(DenseHead):
    """Cross-entropy of ``W x`` with ``|W_y| |x| (lambda cos theta + psi(theta)) / (1 + lambda)``.

    (Liu et al., ICML 2016.) ``psi = (-1)^k cos(m theta) - 2k`` on [k pi/m, (k+1) pi/m]; m is 2, 3
    or 4 in the paper. Nothing is normalised. At training step k, from 1,
    ``lambda = max(lowest, base (1 + gamma k)^-power)``; defaults are those of the authors' Caffe
    example.

    Args:
        margin: m, a positive integer.
        base, gamma, power, lowest: of lambda.

    State: step, a buffer, moved in training.
    """

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
        **options: Any,
    ) -> None:
        if margin < 1 or margin != int(margin):
            raise ValueError(f"margin: got {margin}, expected a positive integer")
        super().__init__(num_classes, embedding_size, **options)
        self.margin = int(margin)
        self.base, self.gamma, self.power, self.lowest = base, gamma, power, lowest
        self.step: Tensor
        self.register_buffer("step", torch.tensor(0))

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,)."""
        self.step += self.training
        rows = self.class_rows(embeddings.dtype)
        logits = F.linear(embeddings, rows)
        own = rows[labels]
        cosine = (unit_rows(embeddings) * unit_rows(own)).sum(dim=1)
        length = torch.linalg.vector_norm(embeddings, dim=1) * torch.linalg.vector_norm(own, dim=1)
        ease = self.ease()
        target = length * (ease * cosine + psi(cosine, self.margin)) / (1 + ease)
        logits = logits.scatter(1, labels[:, None], target[:, None])
        return F.cross_entropy(logits, labels, reduction="none")

    def class_rows(self, dtype: torch.dtype) -> Tensor:
        """(C, D) that `logits` multiplies with."""
        return self.weight.to(dtype)

    def ease(self) -> Tensor:
        """lambda at the current step."""
        falling = self.base * (1 + self.gamma * self.step.double()) ** -self.power
        return falling.clamp(min=self.lowest).float()

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """(B, C): ``W x``."""
        return F.linear(embeddings, self.class_rows(embeddings.dtype))

    def class_margins(self) -> Tensor:
        """(): factor on the angle."""
        return torch.tensor(float(self.margin))


class SphereFace(LSoftmax):
    """L-Softmax with class weights of length 1: logits ``|x| cos theta_j`` (Liu et al., CVPR 2017).

    m = 4, ``lambda = max(5, 1000 / (1 + 0.12 k))``, as the authors trained. As |x| is the scale, a
    row has its own; `SphereFaceR` is the form with a fixed one.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, margin: int = 4, **options: Any
    ) -> None:
        options = {"gamma": 0.12, "power": 1.0, "lowest": 5.0} | options
        super().__init__(num_classes, embedding_size, margin, **options)

    def class_rows(self, dtype: torch.dtype) -> Tensor:
        """(C, D) unit rows."""
        return unit_rows(super().class_rows(dtype))


def psi(cosine: Tensor, m: int) -> Tensor:
    """``(-1)^k cos(m theta) - 2k`` with ``k = floor(m theta / pi)``.

    cos(m theta) by Chebyshev's recurrence: its slope is finite where that of acos is not.
    """
    before, multiple = torch.ones_like(cosine), cosine
    for _ in range(m - 1):
        before, multiple = multiple, 2 * cosine * multiple - before
    k = torch.floor(m * torch.acos(cosine.detach().clamp(-1, 1)) / math.pi)
    return (1 - 2 * (k % 2)) * multiple - 2 * k
