"""Heads with a margin for every class, learnt or computed from its images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fairloss.heads.cosine import CosineHead
from fairloss.heads.head import check_number
from fairloss_ext import ClassStatistics

# Statistics are float32: r of images that are all alike is 1 to a few 1e-7, of others far below.
SAME_DIRECTION = 1e-6


class AdaptiveFace(CosineHead):
    """``s (cos theta - m_y)`` with learnt margins, and ``+ lambda (1 - mean_c m_c)``.

    (Liu et al., AdaptiveFace's AdaM-Softmax, CVPR 2019.) Defaults are FaceX-Zoo's: first margins
    uniform in (0.3, 0.4), clamped to [0, 1] before each use, lambda 70, s = 64. The mean counts
    every class alike and is added to every sample's loss. The survey arXiv 2212.13038 prints an arc
    form.

    State: margins (C,), a parameter.
    """

    def __init__(
        self, num_classes: int, embedding_size: int, *, regulariser: float = 70.0, **options: Any
    ) -> None:
        margins = torch.empty(max(num_classes, 1)).uniform_(0.3, 0.4)
        super().__init__(num_classes, embedding_size, margins, kind="cos", **options)
        self.margins = nn.Parameter(self.margins)
        self.regulariser = regulariser

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses with the regulariser, 0 where the label is -1."""
        if self.training:
            self.margins.data.clamp_(0, 1)
        own = self.regulariser * (1 - self.margins.mean())
        return super().losses(embeddings, labels) + torch.where(labels >= 0, own, 0)


class LDAM(CosineHead):
    """``s (cos theta - m_y)``, ``m_c = 0.5 n_c^(-1/4) / max_k n_k^(-1/4)``, with deferred weights.

    (Cao et al., NeurIPS 2019; s = 30 as in the authors' code.) From epoch `reweight_from` on (DRW;
    160 of 200 in the paper) a sample counts ``(1 - beta) / (1 - beta^n_y)``, scaled to a mean of 1
    over the classes. The authors' mean divides by the sum of these weights, ours by the number of
    samples.

    Args:
        counts: (C,) training images of each class; 0 counts as 1.
        largest_margin: that of the smallest class.
        reweight_from: epochs before the weights begin; None: never.
        beta: of the effective number of samples.

    State: margins, counts (C,) and epoch, buffers; `end_of_epoch` counts.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        counts: Tensor | Sequence[int],
        largest_margin: float = 0.5,
        reweight_from: int | None = None,
        beta: float = 0.9999,
        **options: Any,
    ) -> None:
        counts = torch.as_tensor(counts).clamp(min=1)
        if counts.shape != (num_classes,):
            raise ValueError(f"counts: got shape {tuple(counts.shape)}, expected ({num_classes},)")
        check_number("largest_margin", largest_margin, 0)
        if not 0 <= beta < 1:
            raise ValueError(f"beta: got {beta}, allowed is [0, 1)")
        margins = counts.double() ** -0.25
        margins *= largest_margin / margins.max()
        options = {"scale": 30.0} | options
        super().__init__(num_classes, embedding_size, margins, kind="cos", **options)
        self.reweight_from, self.beta = reweight_from, beta
        self.counts: Tensor
        self.epoch: Tensor
        self.register_buffer("counts", counts.clone())
        self.register_buffer("epoch", torch.tensor(0))

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(B,) losses, weighted where the time has come, 0 where the label is -1."""
        losses = super().losses(embeddings, labels)
        if self.reweight_from is None or self.epoch < self.reweight_from:
            return losses
        return losses * self.class_weights()[labels.clamp(min=0)]

    def class_weights(self) -> Tensor:
        """(C,) float32 weights of DRW."""
        weights = (1 - self.beta) / (1 - self.beta ** self.counts.double())
        return (weights / weights.mean()).float()

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Count the epoch."""
        self.epoch += 1


class KappaFace(CosineHead):
    """``s cos(theta + m psi_y)``, ``psi = gamma w_kappa + (1 - gamma) w_count``, from epoch 2 on.

    (Oinar et al., KappaFace, 2021; m = 0.8, T = 0.4, gamma = 0.7, s = 64.) Compact and large
    classes get less: ``w_kappa = 1 - sigmoid(T z)``, z the standardised concentration
    ``kappa = r (D - r^2) / (1 - r^2)`` of a von Mises-Fisher distribution, r the length of the mean
    unit embedding; ``w_count = (cos(pi n / (1.05 max n)) + 1) / 2``. psi is 1 in the first epoch.

    The authors' r comes from a memory bank filled during the epoch (momentum 0.9); ours from
    `end_of_epoch`'s embeddings of one network: r = 1 - V (n - 1) / n. As in their code an infinite
    kappa (one image, or several alike: 1 - r below 1e-6) counts as the largest finite one.

    State: margins (C,), a buffer.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.8,
        *,
        temperature: float = 0.4,
        gamma: float = 0.7,
        **options: Any,
    ) -> None:
        check_number("gamma", gamma, 0, 1)
        margins = torch.full((max(num_classes, 1),), float(margin))
        super().__init__(num_classes, embedding_size, margins, kind="arc", **options)
        self.margin, self.temperature, self.gamma = margin, temperature, gamma

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """New margins; classes without images keep theirs.

        Raises:
            ValueError: the statistics are of another number of classes.
        """
        if len(statistics.count) != self.num_classes:
            raise ValueError(
                f"statistics: of {len(statistics.count)} classes, the head has {self.num_classes}"
            )
        present = statistics.count > 0
        count = statistics.count[present].double()
        r = 1 - statistics.intra_variance[present].double() * (count - 1) / count
        kappa = r * (self.embedding_size - r**2) / (1 - r**2)
        kappa = torch.where(1 - r < SAME_DIRECTION, torch.inf, kappa)
        finite = kappa[kappa.isfinite()]
        kappa = kappa.nan_to_num(posinf=finite.max().item() if len(finite) else 0.0)
        spread = kappa.std() if len(kappa) > 1 else torch.zeros(())
        z = (kappa - kappa.mean()) / torch.where(spread > 0, spread, 1)
        compact = 1 - torch.sigmoid(self.temperature * z)
        large = (torch.cos(math.pi * count / (1.05 * count.max())) + 1) / 2
        psi = self.gamma * compact + (1 - self.gamma) * large
        self.margins[present.to(self.margins.device)] = (self.margin * psi).to(self.margins)
