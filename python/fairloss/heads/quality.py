"""Heads whose margin depends on the sample: its norm, its angle, or chance."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from fairloss.checks import check_choice
from fairloss.heads.cosine import CosineHead
from fairloss.heads.head import check_number, precise


class AdaFace(CosineHead):
    """``s (cos(theta + g_angle) - g_add)``, ``g_angle = -m z``, ``g_add = m z + m``.

    (Kim et al., CVPR 2022; m = 0.4, h = 0.333, s = 64.)
    ``z = clip(h (|x| - mean) / (std + 1e-3), -1, 1)`` with |x| clipped to [0.001, 100] and mean and
    std moving averages over batches; z is a constant of the gradient. As in the authors' code
    theta + g_angle is clipped to [1e-3, pi - 1e-3]. There the gradient is 0 where it is clipped;
    here the slope that is left at the end of the range, at most 1e-3 / sin theta.

    Args:
        momentum: weight of a new batch in the averages. 0.01 is that of the authors' scripts; their
            class defaults to 1, no average at all.

    State: norm_mean (from 20) and norm_std (from 100), buffers, moved in training.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        *,
        h: float = 0.333,
        momentum: float = 0.01,
        **options: Any,
    ) -> None:
        check_number("momentum", momentum, 0, 1)
        triple = torch.tensor([1.0, 0.0, margin])  # that of a sample with z = 0
        super().__init__(num_classes, embedding_size, triple, kind="combined", **options)
        self.margin, self.h, self.momentum = margin, h, momentum
        self.norm_mean: Tensor
        self.norm_std: Tensor
        self.register_buffer("norm_mean", torch.tensor(20.0))
        self.register_buffer("norm_std", torch.tensor(100.0))

    @torch.no_grad()
    def sample_margins(self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """(B, 3)."""
        length = torch.linalg.vector_norm(precise(embeddings), dim=1)
        norm = length.clamp(0.001, 100)
        # A spoilt length would stay in the averages forever.
        counted = norm[(labels >= 0) & length.isfinite()]
        if self.training and len(counted) > 1:  # one sample has no spread
            self.norm_mean.lerp_(counted.mean().to(self.norm_mean.dtype), self.momentum)
            self.norm_std.lerp_(counted.std().to(self.norm_std.dtype), self.momentum)
        z = (self.h * (norm - self.norm_mean) / (self.norm_std + 1e-3)).clamp(-1, 1)
        theta = torch.acos(target_cosine.clamp(-1, 1))
        angle = (theta - self.margin * z).clamp(1e-3, math.pi - 1e-3) - theta
        return torch.stack([torch.ones_like(z), angle, self.margin * (z + 1)], dim=1)


class MagFace(CosineHead):
    """``s cos(theta + m(a))`` and ``+ lambda (a / u^2 + 1 / a)``, with ``a = clip(|x|, l, u)``.

    (Meng et al., CVPR 2021.) m(a) is linear, from 0.45 at l = 10 to 0.8 at u = 110;
    lambda is 35, s is 64. The margin is differentiable: it moves the norm. extension="easy" (no
    margin where ``cos theta <= 0``) is the default of the authors' code, and here.

    Args:
        margins_at, norms_at: m and a at both ends.
        regulariser: lambda.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        margins_at: tuple[float, float] = (0.45, 0.8),
        norms_at: tuple[float, float] = (10.0, 110.0),
        regulariser: float = 35.0,
        **options: Any,
    ) -> None:
        for margin in margins_at:
            check_number("margins_at", margin)
        if not 0 < norms_at[0] < norms_at[1]:
            raise ValueError(f"norms_at: got {norms_at}, expected two ascending positive numbers")
        options = {"extension": "easy"} | options
        super().__init__(num_classes, embedding_size, margins_at[0], kind="arc", **options)
        self.margins_at, self.norms_at, self.regulariser = margins_at, norms_at, regulariser

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses with the regulariser, 0 where the label is -1."""
        norm = self._norm(embeddings)
        own = self.regulariser * (norm / self.norms_at[1] ** 2 + 1 / norm)
        return super().losses(embeddings, labels) + torch.where(labels >= 0, own, 0)

    def sample_margins(self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """(B,) radians."""
        (lowest, highest), (low, high) = self.norms_at, self.margins_at
        return low + (high - low) / (highest - lowest) * (self._norm(embeddings) - lowest)

    def class_margins(self) -> Tensor:
        """NaN: margins belong to samples."""
        return torch.tensor(torch.nan)

    def _norm(self, embeddings: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(precise(embeddings), dim=1)
        return norm.clamp(*self.norms_at)


class ElasticFace(CosineHead):
    """ArcFace or CosFace with a margin drawn for every sample, ``m_i ~ N(m, sigma)``.

    (Boutros et al., CVPR Workshops 2022.) Defaults: "arc" 0.5, 0.05; "cos" 0.35, 0.05; s = 64. With
    plus=True the larger margins of a batch go to the lower target cosines, and sigma is 0.0175 or
    0.02. The released "+" indexes the sorted margins by the permutation that sorts the cosines, and
    not by its inverse, so it pairs them at random. In eval mode every margin is m.

    Margins come from torch's generator: restore its state to repeat a run.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float | None = None,
        *,
        kind: Literal["arc", "cos"] = "arc",
        sigma: float | None = None,
        plus: bool = False,
        **options: Any,
    ) -> None:
        check_choice("kind", kind, ("arc", "cos"))
        if margin is None:
            margin = 0.5 if kind == "arc" else 0.35
        if sigma is None:
            sigma = (0.0175 if kind == "arc" else 0.02) if plus else 0.05
        check_number("sigma", sigma, 0)
        super().__init__(num_classes, embedding_size, margin, kind=kind, **options)
        self.sigma, self.plus = sigma, plus

    @torch.no_grad()
    def sample_margins(
        self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor
    ) -> Tensor | None:
        """(B,), drawn."""
        if not self.training:
            return None
        drawn = self.margins + self.sigma * torch.randn_like(target_cosine)
        if not self.plus:
            return drawn
        easiest_first = target_cosine.argsort(descending=True)
        return torch.empty_like(drawn).index_copy_(0, easiest_first, drawn.sort().values)
