"""The losses that `fairloss.loss_search` searches among, with what it found as ordinary options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fairloss.heads.cosine import CosineHead
from fairloss_ext import margin_loss

# tau is kept above this fraction of p: a sample that a searched tau would drop keeps its gradient,
# and its loss is at most ln 1e6 = 14 above that of plain softmax.
TAU_FLOOR = 1e-6


class SearchSoftmax(CosineHead):
    """``-log(h(a, p) p)``, ``h = 1 / (a p + 1 - a)``, p the softmax probability, ``a <= 0``.

    (Wang et al., Loss Function Search for Face Recognition, ICML 2020, eq. 5-8.) Computed as what
    it is, a shift: the target's log-odds fall by ``ln(1 - a)``. So one a is exactly CosFace with
    ``m = ln(1 - a) / s``. Several are the paper's local space: a of each of K equal bins of p, and
    a step of the loss where p passes from one to the next; which bin is no part of the gradient.

    Args:
        a: one number, or one for each bin of p. -1000 at s = 32 (m = 0.22) is in the range that the
            paper's Table 3 finds best.
        options: those of `CosineHead`.

    State: a, a buffer, () or (K,).
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        a: float | Sequence[float] = -1000.0,
        **options: Any,
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)
        values = torch.as_tensor(a, dtype=torch.float32).clone()
        if (
            values.dim() > 1
            or not len(values.flatten())
            or not _all(values.isfinite(), values <= 0)
        ):
            raise ValueError(f"a: got {a}, expected a number <= 0 or one for each bin of p")
        self.a: Tensor
        self.register_buffer("a", values)

    def target_losses(
        self,
        embeddings: Tensor,
        target_cosine: Tensor,
        negative_logsumexp: Tensor,
        labels: Tensor,
        margins: Tensor,
    ) -> Tensor:
        """(B,)."""
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
        """``ln(1 - a)`` for the plain log-odds ``ln p / (1 - p)`` of each target, (B,)."""
        shifts = torch.log1p(-self.a)
        if shifts.dim() == 0:
            return shifts.expand_as(log_odds)
        bins = (log_odds.sigmoid() * len(shifts)).long().clamp(max=len(shifts) - 1)
        return shifts[bins]

    def class_margins(self) -> Tensor:
        """(): ``ln(1 - a) / s``; NaN with several a."""
        if self.a.dim():
            return torch.tensor(torch.nan)
        return torch.log1p(-self.a) / self.scale.detach()


class AMLFS(CosineHead):
    """``-log tau(p)``, p the softmax probability with ``s t(cos theta)`` for the target.

    (Li et al., AM-LFS, ICCV 2019.) t on [-1, 1] and tau on [0, 1] are piecewise linear, ``a x + b``
    on each of M equal intervals, not continuous. Classes and features are normalised, our choice:
    the paper has ``|W| |x|`` where s stands here. A searched tau may pass below 0: it is kept at
    1e-6 p or more. tau is taken in the log domain, so its identity is plain softmax for any p.

    Args:
        t, tau: (M, 2) rows (a, b), each M its own; default the identity on 6 intervals.
        options: those of `CosineHead`.

    State: t and tau, buffers.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        t: Sequence[Sequence[float]] | None = None,
        tau: Sequence[Sequence[float]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(num_classes, embedding_size, 0.0, kind="cos", **options)
        self.t: Tensor
        self.tau: Tensor
        self.register_buffer("t", _rows("t", t))
        self.register_buffer("tau", _rows("tau", tau))

    def target_losses(
        self,
        embeddings: Tensor,
        target_cosine: Tensor,
        negative_logsumexp: Tensor,
        labels: Tensor,
        margins: Tensor,
    ) -> Tensor:
        """(B,)."""
        counts = (labels >= 0) & ~torch.isneginf(negative_logsumexp)
        slope, offset = piece(self.t, target_cosine, -1.0, 1.0)
        log_odds = self.scale * (slope * target_cosine + offset) - negative_logsumexp
        # float64: tau at its floor needs e^-z of a log-odds z near -130 (s = 64).
        log_odds = torch.where(counts, log_odds, 0).double()
        return torch.where(counts, -self.log_tau(log_odds), 0).to(target_cosine.dtype)

    def log_tau(self, log_odds: Tensor) -> Tensor:
        """``log tau(p)`` of ``p = sigmoid(log_odds)``, as ``log p + log(a + b / p)``."""
        slope, offset = piece(self.tau, log_odds.sigmoid(), 0.0, 1.0)
        inverse = 1 + torch.exp(-log_odds.clamp(min=-600))  # e^709 is the end of float64
        return F.logsigmoid(log_odds) + torch.log((slope + offset * inverse).clamp(min=TAU_FLOOR))

    def class_margins(self) -> Tensor:
        """NaN: a transform is no margin."""
        return torch.tensor(torch.nan)


def piece(rows: Tensor, points: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Slope and offset, of (M, 2) `rows` on equal intervals of [low, high], at each point."""
    place = (points.detach() - low) / (high - low) * len(rows)
    slope, offset = rows[place.nan_to_num().long().clamp(0, len(rows) - 1)].unbind(-1)
    return slope, offset


def _rows(name: str, rows: Sequence[Sequence[float]] | None) -> Tensor:
    values = torch.tensor([[1.0, 0.0]] * 6 if rows is None else rows, dtype=torch.float32)
    if values.dim() != 2 or values.shape[1] != 2 or not len(values) or not _all(values.isfinite()):
        raise ValueError(f"{name}: got {rows}, expected rows (a, b), one for each interval")
    return values


def _all(*conditions: Tensor) -> bool:
    return all(bool(condition.all()) for condition in conditions)
