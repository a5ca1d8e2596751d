"""UniFace: target and negatives on both sides of one threshold."""

import math

from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import check_number, check_positive
from fairloss.heads.base import DenseHead, HeadOptions, Unpack


class UniFace(DenseHead):
    """``softplus(b - s (cos theta_y - m)) + l sum_{j != y} softplus(s cos theta_j - b)``.

    (Zhou et al., ICCV 2023; s = 64, m = 0.4, l = 1.) One bias b for all classes, from ln(10 C).
    The authors' code clamps both logits to [-s, s] before the softplus. So there a sample with
    ``cos theta_y < m - 1 + b / s`` (-0.42 at first with 10,575 classes) has a constant target term
    and no gradient of it; here the formula has no such limit. Above it the two are equal.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        scale: s.
        negative_weight: l.
        options: see `HeadOptions`.

    Attributes:
        bias: parameter b, ().
    """

    scaled = True
    bias: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.4,
        *,
        scale: float = 64.0,
        negative_weight: float = 1.0,
        **options: Unpack[HeadOptions],
    ) -> None:
        check_positive("scale", scale)
        check_number("margin", margin)
        check_number("negative_weight", negative_weight, 0)
        super().__init__(num_classes, embedding_size, **options)
        self.margin, self.scale, self.negative_weight = margin, scale, negative_weight
        self.register_state("bias", math.log(10 * num_classes), learned=True)

    def dense_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the sums of C binary losses, (B,)."""
        logits = self.plain_logits(embeddings)
        is_target = F.one_hot(labels, self.num_classes).bool()
        target_logits = logits.gather(1, labels[:, None]).squeeze(1)
        target = F.softplus(self.scale * self.margin - target_logits)
        negatives = F.softplus(logits).masked_fill(is_target, 0).sum(dim=1)
        return target + self.negative_weight * negatives

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute ``s cos theta - b``, (B, C)."""
        return self.scale * self.cosines(embeddings) - self.bias
