"""KappaFace: smaller margins for large and for compact classes."""

import math

import torch

from fairloss.checks import check_length, check_number
from fairloss.heads.base import CosineHead, CosineOptions, Unpack
from fairloss_ext import ClassStatistics

# Statistics are float32: r of images that are all alike is 1 to a few 1e-7, of others far below.
SAME_DIRECTION = 1e-6


class KappaFace(CosineHead):
    """``s cos(theta + m psi_y)``, ``psi = gamma w_kappa + (1 - gamma) w_count``, from epoch 2 on.

    (Oinar et al., KappaFace, 2021; m = 0.8, T = 0.4, gamma = 0.7, s = 64.) Compact and large
    classes get less: ``w_kappa = 1 - sigmoid(T z)``, z the standardized concentration
    ``kappa = r (D - r^2) / (1 - r^2)`` of a von Mises-Fisher distribution, r the length of the mean
    unit embedding; ``w_count = (cos(pi n / (1.05 max n)) + 1) / 2``. psi is 1 in the first epoch.

    The authors' r comes from a memory bank filled during the epoch (momentum 0.9); ours from
    `end_of_epoch`'s embeddings of one network: r = 1 - V (n - 1) / n. As in their code an infinite
    kappa (one image, or several alike: 1 - r below 1e-6) counts as the largest finite one.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: m.
        temperature: T.
        gamma: share of the concentration.
        options: see `CosineOptions`.

    Attributes:
        margins: buffer, (C,).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.8,
        *,
        temperature: float = 0.4,
        gamma: float = 0.7,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_number("gamma", gamma, 0, 1)
        super().__init__(num_classes, embedding_size, margin, kind="arc", **options)
        self.register_state("margins", margin, (num_classes,))
        self.margin, self.temperature, self.gamma = margin, temperature, gamma

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Compute the margins of the next epoch; classes without images keep theirs.

        Raises:
            ValueError: the statistics are of another number of classes.
        """
        check_length("statistics", len(statistics.count), self.num_classes, "classes")
        present = statistics.count > 0
        count = statistics.count[present].double()
        r = 1 - statistics.intra_variance[present].double() * (count - 1) / count
        kappa = r * (self.embedding_size - r**2) / (1 - r**2)
        kappa = torch.where(1 - r < SAME_DIRECTION, torch.inf, kappa)
        finite = kappa[kappa.isfinite()]
        kappa = kappa.nan_to_num(posinf=finite.max().item() if len(finite) else 0.0)
        spread = kappa.std() if len(kappa) > 1 else torch.zeros(())
        z = (kappa - kappa.mean()) / torch.where(spread > 0, spread, 1)
        w_kappa = 1 - torch.sigmoid(self.temperature * z)
        w_count = (torch.cos(math.pi * count / (1.05 * count.max())) + 1) / 2
        psi = self.gamma * w_kappa + (1 - self.gamma) * w_count
        self.margins[present.to(self.margins.device)] = (self.margin * psi).to(self.margins)
        super().end_of_epoch(statistics)
