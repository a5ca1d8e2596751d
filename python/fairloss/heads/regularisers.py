"""Losses without logits, to be added to a head's: `loss = head(x, y) + CenterLoss(C, D)(x, y)`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fairloss.heads.head import SampleLoss, check_labels, check_number, precise
from fairloss_ext.numerics import full_precision, unit_rows
from fairloss_ext.options import Reduction


class CenterLoss(SampleLoss):
    """``weight / 2 |x - c_y|^2`` (Wen et al., ECCV 2016); weight 0.003, alpha 0.5.

    After each training batch ``c_j <- c_j - alpha sum_{y = j} (c_j - x) / (1 + n_j)``, outside of
    the gradient; the paper's rule, where many re-implementations make the centres parameters.

    State: centers (C, D) from 0, a buffer.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        weight: float = 0.003,
        alpha: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        check_number("num_classes", num_classes, 1)
        check_number("alpha", alpha, 0, 1)
        super().__init__(reduction)
        self.weight, self.alpha = weight, alpha
        self.centers: Tensor
        self.register_buffer("centers", torch.zeros(num_classes, embedding_size))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        check_labels(labels, len(self.centers))
        embeddings = precise(embeddings)
        away = embeddings - self.centers[labels.long().clamp(min=0)]
        if self.training:
            with torch.no_grad():
                self.centers.copy_(_moved(self.centers, embeddings, labels, self.alpha))
        return torch.where(labels >= 0, self.weight / 2 * away.square().sum(dim=1), 0)


class UniformFace(SampleLoss):
    """``weight / (C (C - 1)) sum_{i != j} 1 / |c_i - c_j|``: class centres apart.

    (Duan et al., CVPR 2019.) Centres move as in `CenterLoss`, and the loss is that of the moved
    ones, through which its gradient reaches the batch: our reading. It is the same for every
    labelled sample of a batch, and takes C (C - 1) / 2 distances. weight = 1 is our default; the
    paper's could not be had.

    State: centers (C, D) from N(0, 1), a buffer.
    """

    CLOSEST = 1e-3  # shorter distances count as this one: equal centres must not cost infinity

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        weight: float = 1.0,
        alpha: float = 0.5,
        reduction: Reduction = "mean",
    ) -> None:
        check_number("num_classes", num_classes, 1)
        check_number("alpha", alpha, 0, 1)
        super().__init__(reduction)
        self.weight, self.alpha = weight, alpha
        self.centers: Tensor
        self.register_buffer("centers", torch.randn(num_classes, embedding_size))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        check_labels(labels, len(self.centers))
        centers = self.centers
        if self.training:
            centers = _moved(centers.clone(), precise(embeddings), labels, self.alpha)
            self.centers.copy_(centers.detach())
        pairs = max(len(centers) * (len(centers) - 1) // 2, 1)
        loss = self.weight / pairs * (1 / torch.pdist(centers).clamp(min=self.CLOSEST)).sum()
        return torch.where(labels >= 0, loss, 0)


class RingLoss(SampleLoss):
    """``weight / 2 (|x| - R)^2`` with a learnt R (Zheng et al., CVPR 2018); weight 0.01.

    State: radius R, a parameter, negative until the first batch sets it to its mean norm, as in the
    authors' code.
    """

    def __init__(self, *, weight: float = 0.01, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.weight = weight
        self.radius = nn.Parameter(torch.tensor(-1.0))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        norm = torch.linalg.vector_norm(precise(embeddings), dim=1)
        counted = labels >= 0
        sound = counted & norm.isfinite()  # a spoilt radius would never come back
        if self.radius < 0 and sound.any():
            self.radius.data.copy_(norm[sound].mean())
        return torch.where(counted, self.weight / 2 * (norm - self.radius) ** 2, 0)


class Triplet(SampleLoss):
    """``max(0, |a - p|^2 - |a - n|^2 + margin)`` of unit embeddings, margin 0.2.

    (Schroff et al., FaceNet, CVPR 2015, eq. 2.) Every sample is an anchor, its loss the mean over
    its positives p in the batch. n is semi-hard: the nearest negative farther than p, or, where
    there is none, the farthest. An anchor without a positive or without a negative has loss 0.
    """

    def __init__(self, *, margin: float = 0.2, reduction: Reduction = "mean") -> None:
        if not 0 < margin < math.inf:
            raise ValueError(f"margin: got {margin}, expected a positive number")
        super().__init__(reduction)
        self.margin = margin

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, 0 where the label is -1."""
        with full_precision(embeddings.device):
            rows = unit_rows(precise(embeddings))
            distance = 2 - 2 * rows @ rows.T  # squared
        known = (labels >= 0) & (labels >= 0)[:, None]
        same = labels == labels[:, None]
        positive = known & same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        negative = known & ~same
        farther, order = distance.masked_fill(~negative, math.inf).sort(dim=1)
        after = torch.searchsorted(farther.detach(), distance.detach().contiguous(), right=True)
        last = negative.sum(dim=1, keepdim=True) - 1
        chosen = order.gather(1, after.minimum(last).clamp(min=0))  # (B, B): n for each (a, p)
        hinge = (distance - distance.gather(1, chosen) + self.margin).clamp(min=0)
        counted = positive & negative.any(dim=1, keepdim=True)
        total = torch.where(counted, hinge, 0).sum(dim=1)
        return total / counted.sum(dim=1).clamp(min=1)


def _moved(centers: Tensor, embeddings: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """(C, D) centres after a batch; differentiable in the embeddings.

    A spoilt embedding counts for nothing: its class would never have a centre again.
    """
    known = (labels >= 0) & embeddings.isfinite().all(dim=1)
    rows = labels[known].long()
    count = torch.bincount(rows, minlength=len(centers))[:, None].to(centers.dtype)
    total = torch.zeros_like(centers).index_add(0, rows, embeddings[known].to(centers.dtype))
    return centers - alpha * (count * centers - total) / (1 + count)
