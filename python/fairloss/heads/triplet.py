"""Triplet loss with semi-hard negatives of the batch."""

import math

import torch
from torch import Tensor

from fairloss.checks import check_positive
from fairloss.heads.base import SampleLoss, as_precise
from fairloss_ext.numerics import full_precision, unit_rows
from fairloss_ext.options import Reduction


class Triplet(SampleLoss):
    """``max(0, |a - p|^2 - |a - n|^2 + margin)`` of unit embeddings, margin 0.2.

    (Schroff et al., FaceNet, CVPR 2015, eq. 2.) Every sample is an anchor, its loss the mean over
    its positives p in the batch. n is semi-hard: the nearest negative farther than p, or, where
    there is none, the farthest. An anchor without a positive or without a negative has loss 0.

    Args:
        margin: of squared distances.
        reduction: see `SampleLoss`.
        ignore_index: see `SampleLoss`.
    """

    def __init__(
        self, *, margin: float = 0.2, reduction: Reduction = "mean", ignore_index: int = -1
    ) -> None:
        check_positive("margin", margin)
        super().__init__(reduction, ignore_index)
        self.margin = margin

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        with full_precision(embeddings.device):
            rows = unit_rows(as_precise(embeddings))
            distance = 2 - 2 * rows @ rows.T  # squared
        labeled = (labels >= 0) & (labels >= 0)[:, None]
        same = labels == labels[:, None]
        positive = labeled & same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        negative = labeled & ~same
        ascending, order = distance.masked_fill(~negative, math.inf).sort(dim=1)
        farther = torch.searchsorted(ascending.detach(), distance.detach().contiguous(), right=True)
        last = negative.sum(dim=1, keepdim=True) - 1
        semi_hard = order.gather(1, farther.minimum(last).clamp(min=0))  # (B, B): n of each (a, p)
        hinge = (distance - distance.gather(1, semi_hard) + self.margin).clamp(min=0)
        counted = positive & negative.any(dim=1, keepdim=True)
        total = torch.where(counted, hinge, 0).sum(dim=1)
        return total / counted.sum(dim=1).clamp(min=1)
