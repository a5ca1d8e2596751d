"""SphereFace-R: a factor on the target's angle, with a fixed scale."""

from fairloss.checks import check_number
from fairloss.heads.base import CosineHead, CosineOptions, Unpack


class SphereFaceR(CosineHead):
    """``s psi(theta)``, ``psi = (-1)^k cos(m theta) - 2k`` on [k pi/m, (k+1) pi/m], real m >= 1.

    (Liu et al., SphereFace Revived, TPAMI 2022; defaults m = 1.7, s = 30, the authors' for CASIA;
    64 for MS1M.) By the paper's characteristic gradient detachment the forward value is psi's but
    its slope counts as 1: margin_grad="straight_through", here the default. "exact" is the other.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        options: see `CosineOptions`.
    """

    defaults = CosineHead.defaults | {"scale": 30.0, "margin_grad": "straight_through"}

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 1.7,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_number("margin", margin, 1)
        super().__init__(num_classes, embedding_size, margin, kind="sphere", **options)
