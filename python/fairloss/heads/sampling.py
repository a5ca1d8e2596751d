"""Classes drawn anew in every step, so that a step costs less than all classes."""

from __future__ import annotations

import torch
from torch import Tensor

from fairloss.heads.head import check_labels
from fairloss_ext.splitmix64 import splitmix64, unsigned_shift


def sample_classes(
    labels: Tensor,  # (B,)
    num_classes: int,
    rate: float,
    step: Tensor | int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Every class in the batch, and each other one with probability `rate`.

    As in PartialFC (An et al., CVPR 2022), but a hash of (seed, step, class) draws a class, and
    nothing else does: nothing is sorted, a resumed run repeats its draw, and every rank and device
    makes the same of the same labels. So S is not fixed: the classes of the batch, and of the C'
    others a binomial number with mean ``rate C'``.

    Args:
        labels: (B,) int32 or int64, -1: no class.
        num_classes: C.
        rate: in (0, 1].
        step: number of the step, an integer or a 0-d int64 tensor.
        seed: any signed 64-bit integer.

    Returns:
        The classes (S,) int64 in ascending order, and the labels (B,) int64 as positions in them;
        -1 stays -1.

    Raises:
        ValueError: a rate, a label or its dtype is not among these.
    """
    check_rate("rate", rate)
    check_labels(labels, num_classes)
    device = labels.device
    key = splitmix64(torch.tensor(seed, device=device), torch.as_tensor(step, device=device))
    drawn = splitmix64(key, torch.arange(num_classes, device=device))
    chosen = unsigned_shift(drawn, 11) < int(rate * 2**53)  # 53 bits: what a rate can be exactly
    chosen[labels[labels >= 0].long()] = True
    index = chosen.nonzero().flatten()
    position = torch.searchsorted(index, labels.long())
    return index, torch.where(labels < 0, -1, position)


def check_rate(name: str, rate: float) -> None:
    """ValueError unless `rate` is in (0, 1]."""
    if not 0 < rate <= 1:
        raise ValueError(f"{name}: got {rate}, allowed is (0, 1]")
