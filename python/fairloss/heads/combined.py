"""Combined margin: a factor on the angle, and a margin on the angle and on the cosine."""

from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class Combined(CosineHead):
    """``s (cos(m1 theta + m2) - m3)``, default (1, 0.3, 0.2) (Deng et al., CVPR 2019, eq. 4).

    (0.9, 0.4, 0.15) is the paper's other good choice. Insightface takes the formula alone
    (extension="none"); here the target keeps falling beyond ``m1 theta + m2 = pi``.

    Args:
        num_classes: C.
        embedding_size: D.
        m1: factor on the angle.
        m2: margin on the angle, in radians.
        m3: margin on the cosine.
        options: see `CosineOptions`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, (m1, m2, m3), kind="combined", **options)
