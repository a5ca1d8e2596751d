"""Classes drawn anew in every step, so that a step costs less than all classes."""

from __future__ import annotations

import torch
from torch import Tensor

from fairloss.heads.head import check_labels

# The constants of Vigna's splitmix64.c (after Steele, Lea, Flood, OOPSLA 2014), as signed integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


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
    key = _splitmix64(torch.tensor(seed, device=device), torch.as_tensor(step, device=device))
    drawn = _splitmix64(key, torch.arange(num_classes, device=device))
    chosen = _shift(drawn, 11) < int(rate * 2**53)  # 53 bits: what a rate can be exactly
    chosen[labels[labels >= 0].long()] = True
    index = chosen.nonzero().flatten()
    position = torch.searchsorted(index, labels.long())
    return index, torch.where(labels < 0, -1, position)


def check_rate(name: str, rate: float) -> None:
    """ValueError unless `rate` is in (0, 1]."""
    if not 0 < rate <= 1:
        raise ValueError(f"{name}: got {rate}, allowed is (0, 1]")


def _splitmix64(seed: Tensor, number: Tensor) -> Tensor:
    """The `number`-th output (from 0) of the generator splitmix64 started at `seed`, bits as int64.

    A counter through a bijection of 64 bits; products of integer tensors wrap around.
    """
    state = (number + 1).mul_(_GOLDEN).add_(seed)
    state = _shift(state, 30).bitwise_xor_(state).mul_(_FIRST)
    state = _shift(state, 27).bitwise_xor_(state).mul_(_SECOND)
    return _shift(state, 31).bitwise_xor_(state)


def _shift(bits: Tensor, by: int) -> Tensor:
    """``bits >> by`` of unsigned integers: torch's shift repeats the sign bit."""
    return (bits >> by).bitwise_and_((1 << (64 - by)) - 1)
