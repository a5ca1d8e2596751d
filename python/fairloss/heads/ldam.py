"""LDAM: smaller margins for larger classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss.checks import check_integer, check_number, check_shape
from fairloss.heads.base import CosineHead, CosineOptions, Unpack
from fairloss_ext import ClassStatistics


class LDAM(CosineHead):
    """``s (cos theta - m_y)``, ``m_c = 0.5 n_c^(-1/4) / max_k n_k^(-1/4)``, with deferred weights.

    (Cao et al., NeurIPS 2019; s = 30 as in the authors' code.) From epoch `reweight_from` on (DRW;
    160 of 200 in the paper) a sample counts ``(1 - beta) / (1 - beta^n_y)``, scaled to a mean of 1
    over the classes. The authors' mean divides by the sum of these weights, ours by the number of
    samples.

    Args:
        num_classes: C.
        embedding_size: D.
        counts: (C,) training images of each class; 0 counts as 1.
        largest_margin: that of the smallest class.
        reweight_from: epochs before the weights begin; None: never.
        beta: of the effective number of samples.
        options: see `CosineOptions`.

    Attributes:
        margins: buffer, (C,).
        counts: buffer, (C,).
        epoch: buffer, calls of `end_of_epoch` so far.
    """

    defaults = CosineHead.defaults | {"scale": 30.0}
    counts: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        counts: Tensor | Sequence[int],
        largest_margin: float = 0.5,
        reweight_from: int | None = None,
        beta: float = 0.9999,
        **options: Unpack[CosineOptions],
    ) -> None:
        counts = torch.as_tensor(counts, dtype=torch.float32, device="cpu").clamp(min=1)
        check_shape("counts", counts, check_integer("num_classes", num_classes))
        check_number("largest_margin", largest_margin, 0)
        check_number("beta", beta, 0, 1, open_high=True)
        margins = counts.double() ** -0.25
        margins *= largest_margin / margins.max()
        super().__init__(num_classes, embedding_size, margins, kind="cos", **options)
        self.reweight_from, self.beta = reweight_from, beta
        self.register_state("counts", counts)
        self.register_count("epoch")

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, weighted from `reweight_from` on, 0 where the label is -1."""
        losses = super().losses(embeddings, labels)
        if self.reweight_from is None:
            return losses
        weights = self.class_weights()[labels.clamp(min=0)]
        return losses * torch.where(self.epoch.round() < self.reweight_from, 1, weights)

    def class_weights(self) -> Tensor:
        """Compute the (C,) float32 weights of DRW."""
        weights = (1 - self.beta) / (1 - self.beta ** self.counts.double())
        return (weights / weights.mean()).float()

    def fits_margins(self, other: CosineHead) -> bool:
        """Return False: the margins follow from the counts."""
        return False

    @property
    def needs_statistics(self) -> bool:
        """False: epochs are counted."""
        return False

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Count the epoch."""
        self.epoch.add_(1)
        super().end_of_epoch(statistics)
