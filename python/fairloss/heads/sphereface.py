"""SphereFace, in its original form: L-Softmax with class weights of length 1."""

import torch
from torch import Tensor

from fairloss.heads.base import HeadOptions, Unpack
from fairloss.heads.lsoftmax import LSoftmax
from fairloss_ext.numerics import unit_rows


class SphereFace(LSoftmax):
    """L-Softmax with class weights of length 1: logits ``|x| cos theta_j`` (Liu et al., CVPR 2017).

    m = 4, ``lambda = max(5, 1000 / (1 + 0.12 k))``, as the authors trained. As |x| is the scale, a
    sample has its own; `SphereFaceR` is the form with a fixed one.

    Args and state: see `LSoftmax`.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: int = 4,
        *,
        base: float = 1000.0,
        gamma: float = 0.12,
        power: float = 1.0,
        lowest: float = 5.0,
        **options: Unpack[HeadOptions],
    ) -> None:
        super().__init__(
            num_classes,
            embedding_size,
            margin,
            base=base,
            gamma=gamma,
            power=power,
            lowest=lowest,
            **options,
        )

    def class_weights(self, dtype: torch.dtype) -> Tensor:
        """Return the (C, D) weights of the logits, of length 1."""
        return unit_rows(super().class_weights(dtype))
