"""MV-Softmax: a margin on the target, and raised logits of misclassified negatives."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from fairloss.checks import check_choice, check_number
from fairloss.heads.base import CosineHead, CosineOptions, HardNegativeHead, Unpack


class MVSoftmax(HardNegativeHead):
    """A margin on the target, and ``cos theta_j > phi(theta_y)`` becomes ``t cos theta_j + t - 1``.

    (Wang et al., Mis-classified Vector Guided Softmax, AAAI 2020; m = 0.35, s = 32, t = 1.2.) With
    adaptive=False it becomes ``cos theta_j + t - 1``, the same raise for every hard negative. The
    authors' code writes t for our t - 1; FaceX-Zoo has t = 1.12. By default the authors keep the
    plain target where ``cos theta_y <= 0``, as extension="easy" does here, but not in the
    threshold. So there they also raise cosines between phi with the margin and ``cos theta_y``; we
    do not.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        kind: "cos" (MV-AM) or "arc" (MV-Arc).
        t: at least 1.
        adaptive: raise a negative in proportion to its cosine.
        options: see `CosineOptions`.
    """

    defaults = CosineHead.defaults | {"scale": 32.0}

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.35,
        *,
        kind: Literal["arc", "cos"] = "cos",
        t: float = 1.2,
        adaptive: bool = True,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_choice("kind", kind, ("arc", "cos"))
        check_number("t", t, 1)
        super().__init__(num_classes, embedding_size, margin, kind=kind, **options)
        self.t, self.adaptive = t, adaptive

    def coefficients(self, target_cosine: Tensor, labels: Tensor) -> Sequence[float]:
        """Return (0, t, t - 1), or (0, 1, t - 1)."""
        return (0.0, self.t if self.adaptive else 1.0, self.t - 1)
