"""Heads that also press on the negatives which beat the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from fairloss.checks import check_choice
from fairloss.heads.cosine import CosineHead
from fairloss.heads.head import check_labels, check_number
from fairloss_ext import margin_logits
from fairloss_ext.numerics import unit_rows


class HardNegativeHead(CosineHead):
    """A `CosineHead` in which a non-target cosine c above the transformed target counts for more.

    It becomes ``a c^2 + b c + d``. Threshold and coefficients are constants of the gradient, as in
    the authors' code. The threshold needs the target first, which is found apart: B products.
    """

    def coefficients(self, target_cosine: Tensor, labels: Tensor) -> Tensor | Sequence[float]:
        """(a, b, d) for this batch; `target_cosine` (B,) is constant."""
        raise NotImplementedError

    def hard_negatives(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor | Sequence[float]]:
        """The transformed targets (B,), and (a, b, d)."""
        with torch.no_grad():
            target = _target_cosine(embeddings, weight, labels)
            threshold = margin_logits(
                target[:, None],
                torch.zeros_like(labels),
                self.margins,
                kind=self.kind,
                scale=1.0,
                extension=self.extension,
            ).squeeze(1)
            return threshold, self.coefficients(target, labels)


class MVSoftmax(HardNegativeHead):
    """A margin on the target, and ``cos theta_j > phi(theta_y)`` becomes ``t cos theta_j + t - 1``.

    (Wang et al., Mis-classified Vector Guided Softmax, AAAI 2020; m = 0.35, s = 32, t = 1.2.) With
    adaptive=False it becomes ``cos theta_j + t - 1``, the same push for every hard negative. The
    authors' code writes t for our t - 1, and keeps the plain target where ``cos theta_y <= 0``
    (extension="easy"); FaceX-Zoo has t = 1.12.

    Args:
        kind: "cos" (MV-AM) or "arc" (MV-Arc).
        t: at least 1.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.35,
        *,
        kind: Literal["arc", "cos"] = "cos",
        t: float = 1.2,
        adaptive: bool = True,
        **options: Any,
    ) -> None:
        check_choice("kind", kind, ("arc", "cos"))
        check_number("t", t, 1)
        options = {"scale": 32.0} | options
        super().__init__(num_classes, embedding_size, margin, kind=kind, **options)
        self.t, self.adaptive = t, adaptive

    def coefficients(self, target_cosine: Tensor, labels: Tensor) -> Sequence[float]:
        """(0, t, t - 1), or (0, 1, t - 1)."""
        return (0.0, self.t if self.adaptive else 1.0, self.t - 1)


class CurricularFace(HardNegativeHead):
    """ArcFace, and ``cos theta_j > cos(theta_y + m)`` becomes ``cos theta_j (t + cos theta_j)``.

    (Huang et al., CVPR 2020; m = 0.5, s = 64, momentum 0.99.) In training, before each use,
    ``t <- 0.99 t + 0.01 mean(cos theta_y)``; the survey arXiv 2212.13038 prints the two weights
    swapped. Beyond theta_y + m = pi the authors' threshold rises again; ours is the extended
    target.

    State: t, a buffer.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        *,
        momentum: float = 0.99,
        **options: Any,
    ) -> None:
        check_number("momentum", momentum, 0, 1)
        super().__init__(num_classes, embedding_size, margin, kind="arc", **options)
        self.momentum = momentum
        self.t: Tensor
        self.register_buffer("t", torch.tensor(0.0))

    def coefficients(self, target_cosine: Tensor, labels: Tensor) -> Tensor:
        """(1, t, 0)."""
        counted = (labels >= 0) & target_cosine.isfinite()  # a spoilt one would stay in t forever
        if self.training and counted.any():
            self.t.lerp_(target_cosine[counted].mean().to(self.t.dtype), 1 - self.momentum)
        return torch.stack([torch.ones_like(self.t), self.t, torch.zeros_like(self.t)])


def _target_cosine(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """(B,); 0 where the label is -1."""
    check_labels(labels, len(weight))
    rows = labels >= 0
    dtype = torch.promote_types(torch.promote_types(embeddings.dtype, weight.dtype), torch.float32)
    cosine = torch.zeros(len(labels), dtype=dtype, device=labels.device)
    own = unit_rows(weight[labels[rows].long()].to(dtype))
    cosine[rows] = (unit_rows(embeddings[rows].to(dtype)) * own).sum(dim=1)
    return cosine
