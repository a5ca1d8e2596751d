"""L2-Softmax: softmax of features of one length."""

from torch import Tensor

from fairloss.checks import check_positive
from fairloss.heads.base import HeadOptions, Unpack
from fairloss.heads.softmax import Softmax
from fairloss_ext.numerics import unit_rows


class L2Softmax(Softmax):
    """Cross-entropy of ``s W x / |x| + b``: features of length s (Ranjan et al., 2017).

    Weights and bias are ordinary. A target probability p needs at least
    ``s = ln(p (C - 2) / (1 - p))``; 32 is our default.

    Args:
        num_classes: C.
        embedding_size: D.
        scale: s.
        learn_scale: make `scale` a parameter. The paper finds a fixed one better.
        options: see `HeadOptions`.

    Attributes:
        bias: parameter b, (C,), from 0.
        scale: buffer s, or a parameter.
    """

    scaled = True
    scale: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        scale: float = 32.0,
        learn_scale: bool = False,
        **options: Unpack[HeadOptions],
    ) -> None:
        check_positive("scale", scale)
        super().__init__(num_classes, embedding_size, **options)
        self.register_state("scale", scale, learned=learn_scale)

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute ``s W x / |x| + b``, (B, C)."""
        return super().plain_logits(self.scale * unit_rows(embeddings))
