"""Search-Softmax: the loss that a factor on the target's probability defines."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss.checks import expect
from fairloss.heads.base import CosineHead, CosineOptions, Unpack
from fairloss_ext import margin_loss


class SearchSoftmax(CosineHead):
    """``-log(h(a, p) p)``, ``h = 1 / (a p + 1 - a)``, p the softmax probability, ``a <= 0``.

    (Wang et al., Loss Function Search for Face Recognition, ICML 2020, eq. 5-8.) Computed as a
    shift: the target's log-odds fall by ``ln(1 - a)``. So one a is exactly CosFace with
    ``m = ln(1 - a) / s``. Several are the paper's local space: a of each of K equal bins of p, and
    a step of the loss where p passes from one to the next; the choice of the bin has no gradient.

    Args:
        num_classes: C.
        embedding_size: D.
        a: one number, or one for each bin of p. -1000 at s = 32 (m = 0.22) is in the range that the
            paper's Table 3 finds best.
        options: see `CosineOptions`.

    Attributes:
        a: buffer, () or (K,).
    """

    a: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        a: float | Sequence[float] = -1000.0,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)
        values = self.register_state("a", a)
        in_range = (
            values.dim() <= 1 and values.numel() and (values.isfinite() & (values <= 0)).all()
        )
        expect(in_range, "a", "a number of at most 0, or one for each bin of p", a)

    def target_losses(
        self,
        embeddings: Tensor,
        target_cosine: Tensor,
        negative_logsumexp: Tensor,
        labels: Tensor,
        margins: Tensor,
    ) -> Tensor:
        """Compute the losses of shifted log-odds, (B,)."""
        log_odds = self.scale * target_cosine.detach() - negative_logsumexp.detach()
        return margin_loss(
            target_cosine,
            negative_logsumexp,
            labels,
            None,
            kind="cos",
            scale=self.scale,
            sample_margins=self.shift(log_odds) / self.scale,
        )

    def shift(self, log_odds: Tensor) -> Tensor:
        """Compute ``ln(1 - a)`` for the plain log-odds ``ln p / (1 - p)`` of each target, (B,)."""
        shifts = torch.log1p(-self.a)
        if shifts.dim() == 0:
            return shifts.expand_as(log_odds)
        bins = (log_odds.sigmoid().nan_to_num() * len(shifts)).long()
        return shifts[bins.clamp(max=len(shifts) - 1)]

    def class_margins(self) -> Tensor:
        """Return ``ln(1 - a) / s``, (); NaN with several a."""
        if self.a.dim():
            return torch.tensor(torch.nan)
        return torch.log1p(-self.a) / self.scale.detach()
