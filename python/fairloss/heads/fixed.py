"""Heads with one constant margin for all classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fairloss.heads.cosine import CosineHead
from fairloss.heads.head import check_number


class NormFace(CosineHead):
    """``s cos theta``: no margin (Wang et al., ACM MM 2017). On small sets s = 20 beats 64.

    Args:
        learn_scale: make `scale` a parameter, as the paper also does.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, *, learn_scale: bool = False, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)
        if learn_scale:
            self.scale = nn.Parameter(self.scale)


class ArcFace(CosineHead):
    """``s cos(theta + m)``, m in radians, default 0.5 (Deng et al., CVPR 2019, eq. 3).

    Where theta + m passes pi it goes on as ``cos theta - m sin m``, the authors' first extension;
    extension="easy" is their easy_margin, and "none" the formula alone, which insightface's torch
    code uses today. The gradient is exact; insightface's own is margin_grad="straight_through".
    """

    def __init__(
        self, num_classes: int, embedding_size: int, margin: float = 0.5, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, kind="arc", **options)


class CosFace(CosineHead):
    """``s (cos theta - m)``, default m = 0.35 (Wang et al., CVPR 2018, eq. 4).

    The same loss is AM-Softmax (Wang et al., IEEE SPL 2018), there with s = 30. Insightface's torch
    code has m = 0.40.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, margin: float = 0.35, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, kind="cos", **options)


class Combined(CosineHead):
    """``s (cos(m1 theta + m2) - m3)``, default (1, 0.3, 0.2) (Deng et al., CVPR 2019, eq. 4).

    (0.9, 0.4, 0.15) is the paper's other good choice. Insightface takes the formula alone
    (extension="none"); here the target keeps falling beyond ``m1 theta + m2 = pi``.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        **options: Any,
    ) -> None:
        margins = torch.tensor([m1, m2, m3])
        super().__init__(num_classes, embedding_size, margins, kind="combined", **options)


class SphereFaceR(CosineHead):
    """``s psi(theta)``, ``psi = (-1)^k cos(m theta) - 2k`` on [k pi/m, (k+1) pi/m], real m >= 1.

    (Liu et al., SphereFace Revived, TPAMI 2022; defaults m = 1.7, s = 30, the authors' for CASIA;
    64 for MS1M.) By the paper's characteristic gradient detachment the forward value is psi's but
    its slope counts as 1: margin_grad="straight_through", here the default. "exact" is the other.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, margin: float = 1.7, **options: Any
    ) -> None:
        check_number("margin", margin, 1)
        options.setdefault("scale", 30.0)
        options.setdefault("margin_grad", "straight_through")
        super().__init__(num_classes, embedding_size, margin, kind="sphere", **options)
