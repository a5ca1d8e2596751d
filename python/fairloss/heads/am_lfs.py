"""AM-LFS: piecewise linear transforms of the target's cosine and of its probability."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.checks import expect
from fairloss.heads.base import CosineHead, CosineOptions, Unpack

# tau is kept above this fraction of p: a sample that a searched tau would drop keeps its gradient,
# and its loss is at most ln 1e6 = 14 above that of plain softmax.
MIN_TAU_RATIO = 1e-6
IDENTITY = [[1.0, 0.0]] * 6


class AMLFS(CosineHead):
    """``-log tau(p)``, p the softmax probability with ``s t(cos theta)`` for the target.

    (Li et al., AM-LFS, ICCV 2019.) t on [-1, 1] and tau on [0, 1] are piecewise linear, ``a x + b``
    on each of M equal intervals, not continuous. Classes and features are normalized, our choice:
    the paper has ``|W| |x|`` where s stands here. A searched tau may pass below 0: it is kept at
    1e-6 p or more. tau is computed in the log domain, so its identity is plain softmax for any p.

    Args:
        num_classes: C.
        embedding_size: D.
        t: (M, 2) rows (a, b); default the identity on 6 intervals.
        tau: (M, 2) rows (a, b), M its own; default the identity on 6 intervals.
        options: see `CosineOptions`.

    Attributes:
        t: buffer, (M, 2).
        tau: buffer, (M, 2).
    """

    t: Tensor
    tau: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        t: Sequence[Sequence[float]] | None = None,
        tau: Sequence[Sequence[float]] | None = None,
        **options: Unpack[CosineOptions],
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)
        for name, rows in (("t", t), ("tau", tau)):
            lines = self.register_state(name, IDENTITY if rows is None else rows)
            is_table = lines.dim() == 2 and lines.shape[1] == 2 and len(lines)
            finite = is_table and lines.isfinite().all()
            expect(finite, name, "finite rows (a, b), one for each interval", rows)

    def target_losses(
        self,
        embeddings: Tensor,
        target_cosine: Tensor,
        negative_logsumexp: Tensor,
        labels: Tensor,
        margins: Tensor,
    ) -> Tensor:
        """Compute ``-log tau(p)``, (B,)."""
        counted = (labels >= 0) & ~torch.isneginf(negative_logsumexp)
        slope, offset = line_at(self.t, target_cosine, -1.0, 1.0)
        log_odds = self.scale * (slope * target_cosine + offset) - negative_logsumexp
        # float64: the least tau needs e^-z of a log-odds z near -130 (s = 64).
        log_odds = torch.where(counted, log_odds, 0).double()
        return torch.where(counted, -self.log_tau(log_odds), 0).to(target_cosine.dtype)

    def log_tau(self, log_odds: Tensor) -> Tensor:
        """Compute ``log tau(p)`` of ``p = sigmoid(log_odds)``, as ``log p + log(a + b / p)``."""
        slope, offset = line_at(self.tau, log_odds.sigmoid(), 0.0, 1.0)
        inverse = 1 + torch.exp(-log_odds.clamp(min=-600))  # float64 overflows at e^709
        ratio = (slope + offset * inverse).clamp(min=MIN_TAU_RATIO)
        return F.logsigmoid(log_odds) + torch.log(ratio)

    def class_margins(self) -> Tensor:
        """Return NaN: a transform is no margin."""
        return torch.tensor(torch.nan)


def line_at(lines: Tensor, points: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Return slope and offset, of (M, 2) `lines` on equal intervals of [low, high], at points."""
    interval = ((points.detach() - low) / (high - low) * len(lines)).nan_to_num().long()
    slope, offset = lines[interval.clamp(0, len(lines) - 1)].unbind(-1)
    return slope, offset
