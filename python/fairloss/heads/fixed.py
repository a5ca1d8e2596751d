"""Heads with one constant margin for all classes."""

from __future__ import annotations

from typing import Any

from fairloss.heads.cosine import CosineHead


class NormFace(CosineHead):
    """``s cos theta``: no margin (Wang et al., ACM MM 2017). On small sets s = 20 beats 64."""

    def __init__(self, num_classes: int, embedding_size: int, **options: Any) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)


class ArcFace(CosineHead):
    """``s cos(theta + m)``, m in radians, default 0.5 (Deng et al., CVPR 2019, eq. 3).

    Its gradient is exact; insightface's own is margin_grad="straight_through".
    """

    def __init__(
        self, num_classes: int, embedding_size: int, margin: float = 0.5, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, kind="arc", **options)


class CosFace(CosineHead):
    """``s (cos theta - m)``, default m = 0.35 (Wang et al., CVPR 2018, eq. 4; = AM-Softmax)."""

    def __init__(
        self, num_classes: int, embedding_size: int, margin: float = 0.35, **options: Any
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, kind="cos", **options)
