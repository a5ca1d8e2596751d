"""The base of heads that also raise the logits of hard negatives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fairloss.heads.base.cosine import CosineHead
from fairloss.heads.base.sharded import local_labels
from fairloss_ext import margin_logits
from fairloss_ext._checks import check_range
from fairloss_ext.numerics import unit_rows


class HardNegativeHead(CosineHead):
    """``c -> a c^2 + b c + d`` for every non-target cosine ``c > phi(theta_y)``.

    A subclass defines (a, b, d) by `coefficients`. They and the threshold are constants of the
    gradient, as in the authors' code. The threshold needs the target cosine first, which takes B
    more products.
    """

    def coefficients(self, target_cosine: Tensor, labels: Tensor) -> Tensor | Sequence[float]:
        """Return (a, b, d) for this batch; `target_cosine` (B,) is constant."""
        raise NotImplementedError

    @torch.no_grad()
    def hard_negatives(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor, first: int
    ) -> tuple[Tensor, Tensor | Sequence[float]]:
        """Compute the thresholds ``phi(theta_y)``, (B,), and (a, b, d)."""
        if self.shard is None:
            cosine = target_cosines(embeddings, weight, labels)
        else:
            local = local_labels(labels, first, len(weight))
            cosine = self.shard.sum(target_cosines(embeddings, weight, local))
        phi = margin_logits(
            cosine[:, None],
            torch.zeros_like(labels),  # the one column is every sample's target
            self.margins,
            kind=self.kind,
            scale=1.0,
            extension=self.extension,
        )
        return phi.squeeze(1), self.coefficients(cosine, labels)


def target_cosines(embeddings: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Compute ``cos theta_y``, (B,), in at least float32; 0 where the label is -1."""
    check_range("labels", labels, -1, len(weight), synchronize=True)
    dtype = torch.promote_types(torch.promote_types(embeddings.dtype, weight.dtype), torch.float32)
    if not len(weight):  # a rank without classes
        weight = weight.new_zeros(1, weight.shape[1])
    targets = unit_rows(weight[labels.clamp(min=0)].to(dtype))
    cosine = (unit_rows(embeddings.to(dtype)) * targets).sum(dim=1)
    return torch.where(labels >= 0, cosine, 0)
