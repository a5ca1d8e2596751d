"""ArcFace: a margin added to the target's angle."""

from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class ArcFace(CosineHead):
    """``s cos(theta + m)``, m in radians, default 0.5 (Deng et al., CVPR 2019, eq. 3).

    Where theta + m passes pi it continues as ``cos theta - m sin m``, the authors' first extension;
    extension="easy" is their easy_margin, and "none" the formula alone, which insightface's torch
    code uses today. The gradient is exact; insightface's own is margin_grad="straight_through".

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        options: see `CosineOptions`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, margin, kind="arc", **options)
