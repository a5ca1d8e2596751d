"""PerClass: margins of classes that are given, or tilted by a signal, about a scheduled level."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fairloss.checks import (
    check_choice,
    check_integer,
    check_length,
    check_number,
    check_shape,
    expect,
)
from fairloss.heads.base import CosineHead, CosineOptions, Unpack
from fairloss_ext import ClassStatistics

SIGNALS = ("count", "variance", "nearest")
LARGEST_Z = 2.0


class PerClass(CosineHead):
    """``s cos(theta + m_y)`` or ``s (cos theta - m_y)``, ``m_c = level + tilt (z_c - mean z)``.

    z is the signal `by` of a class, with mean 0 and standard deviation 1 over the classes and then
    clipped to [-2, 2]. "count": ``ln n_c``. "variance": that within the class; "nearest": the
    cosine of its center with the nearest other one, both from `end_of_epoch`, so that margins are
    the level in the first epoch. A class without the signal (no image; "variance": fewer than two)
    has z = 0. The mean is over images: whatever the tilt, their average margin is the level.

    `shuffled` is the control: the same z, dealt to other classes by a permutation from this seed.

    Args:
        num_classes: C.
        embedding_size: D.
        margin: the level; default 0.35, or the mean of `margins`.
        kind: "arc" (margins in radians) or "cos" (in cosine).
        counts: (C,) training images of each class.
        tilt: margin of one standard deviation of the signal; may be negative.
        by: signal of the tilt.
        shuffled: seed of the permutation; None: every class has its own z.
        schedule: the level as pairs (fraction of the epochs that are finished, level), linear
            between them and constant beyond. Epochs are counted by `end_of_epoch`.
        epochs: of the whole training, for `schedule`.
        margins: (C,) margins in place of the tilt; `margin` and `schedule` shift them as a whole.
        options: see `CosineOptions`.

    Attributes:
        margins: buffer, (C,).
        counts: buffer, (C,).
        offsets: buffer, (C,) float64, margins without the level.
        epoch: buffer, calls of `end_of_epoch` so far.
    """

    counts: Tensor
    offsets: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float | None = None,
        *,
        kind: Literal["arc", "cos"] = "cos",
        counts: Tensor | Sequence[int],
        tilt: float = 0.0,
        by: Literal["count", "variance", "nearest"] = "count",
        shuffled: int | None = None,
        schedule: Sequence[Sequence[float]] | None = None,
        epochs: int | None = None,
        margins: Tensor | Sequence[float] | None = None,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_integer("num_classes", num_classes)
        images = _vector("counts", counts, num_classes)
        expect((images >= 0).all(), "counts", "numbers of at least 0", images.min().item())
        check_choice("kind", kind, ("arc", "cos"))
        check_choice("by", by, SIGNALS)
        check_number("tilt", tilt)
        if shuffled is not None:
            check_integer("shuffled", shuffled, 0)
        alone = margin is None or schedule is None
        expect(alone, "margin", "none beside a schedule", margin)
        expect(not tilt or margins is None, "tilt", "0 beside margins", tilt)
        if schedule is not None:
            check_schedule(schedule)
            check_integer("epochs", epochs)
        self.by, self.tilt, self.shuffled = by, tilt, shuffled
        self.schedule, self.epochs = schedule, epochs
        if margins is not None:
            values = _vector("margins", margins, num_classes)
            margin = _mean(values, images) if margin is None else margin
        else:
            values = tilt * standardize(images.log() if by == "count" else images * torch.nan)
        self.margin = 0.35 if margin is None else margin
        check_number("margin", self.margin)
        offsets = self._centered(values, images)
        first = (self.level(0) + offsets).float()
        super().__init__(num_classes, embedding_size, first, kind=kind, **options)
        self.register_state("counts", images)
        self.register_state("offsets", offsets, dtype=torch.float64)
        self.register_count("epoch")

    def level(self, finished: int) -> float:
        """Return the level after this number of epochs."""
        if self.schedule is None or self.epochs is None:
            return self.margin
        fractions, levels = np.asarray(self.schedule, dtype=np.float64).T
        return float(np.interp(finished / self.epochs, fractions, levels))

    @property
    def needs_statistics(self) -> bool:
        """True where the signal is of the embeddings."""
        return self.tilt != 0 and self.by != "count"

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Compute the margins of the next epoch.

        Raises:
            ValueError: the statistics are of another number of classes.
        """
        check_length("statistics", len(statistics.count), self.num_classes, "classes")
        self.epoch.add_(1)
        if self.needs_statistics:
            z = standardize(_signal(self.by, statistics).double().cpu())
            self.offsets.copy_(self._centered(self.tilt * z, self.counts.double().cpu()))
        if self.needs_statistics or self.schedule is not None:
            self.margins.copy_(self.level(round(self.epoch.item())) + self.offsets)
        super().end_of_epoch(statistics)

    def fits_margins(self, other: CosineHead) -> bool:
        """Return False: the margins follow from the settings."""
        return False

    def _centered(self, values: Tensor, images: Tensor) -> Tensor:
        """Return (C,) values, permuted by the seed, less their mean over the images."""
        if self.shuffled is not None:
            generator = torch.Generator().manual_seed(self.shuffled)
            values = values[torch.randperm(len(values), generator=generator, device="cpu")]
        return values - _mean(values, images)


def standardize(signal: Tensor) -> Tensor:
    """Return z of a (C,) signal, clipped; 0 where it is not finite or all of it is the same."""
    present = signal.isfinite()
    values = signal[present]
    z = torch.zeros_like(signal)
    if len(values) and (spread := values.std(correction=0)) > 0:
        z[present] = ((values - values.mean()) / spread).clamp(-LARGEST_Z, LARGEST_Z)
    return z


def check_schedule(schedule: Sequence[Sequence[float]]) -> None:
    """Raise ValueError unless these are pairs (fraction, level), ascending in the fraction."""
    is_list = isinstance(schedule, (list, tuple)) and len(schedule) > 0
    expect(is_list, "schedule", "a list of pairs (fraction, level)", repr(schedule))
    for i, pair in enumerate(schedule):
        is_pair = isinstance(pair, (list, tuple)) and len(pair) == 2
        numbers = is_pair and all(isinstance(value, (int, float)) for value in pair)
        expect(numbers, f"schedule[{i}]", "a pair (fraction of the epochs, level)", repr(pair))
        check_number(f"schedule[{i}][0]", pair[0], 0, 1)
        check_number(f"schedule[{i}][1]", pair[1])
    fractions = [fraction for fraction, _ in schedule]
    ascending = all(a < b for a, b in pairwise(fractions))
    expect(ascending, "schedule", "ascending fractions", fractions)


def _signal(by: str, statistics: ClassStatistics) -> Tensor:
    if by == "nearest":
        return statistics.inter_angle.cos()
    return torch.where(statistics.count > 1, statistics.intra_variance, torch.nan)


def _vector(name: str, values: Tensor | Sequence[float], length: int) -> Tensor:
    vector = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    check_shape(name, vector, length)
    expect(vector.isfinite().all(), name, "finite numbers", values)
    return vector


def _mean(values: Tensor, images: Tensor) -> float:
    return ((values * images).sum() / images.sum().clamp(min=1)).item()
