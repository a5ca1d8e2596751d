"""Classes drawn anew in every step, so that a step costs less than all classes."""

import torch
from torch import Tensor

from fairloss.checks import check_number
from fairloss_ext._arguments import as_labels
from fairloss_ext._checks import check_range
from fairloss_ext.splitmix64 import splitmix64, unsigned_shift


def sample_classes(
    labels: Tensor,  # (B,)
    num_classes: int,
    rate: float,
    step: Tensor | int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Draw every class in the batch, and each other one with probability `rate`.

    As in PartialFC (An et al., CVPR 2022), but a class is drawn by a hash of (seed, step, class)
    alone: no sort is needed, a resumed run repeats its draw, and every rank and device draws the
    same from the same labels. So S is not fixed: the classes of the batch, and of the C' others a
    binomial number with mean ``rate C'``.

    Args:
        labels: (B,) or (B, 1) integers, -1: no class.
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
    labels = as_labels(labels)
    classes = draw_classes(labels, num_classes, rate, step, seed)
    return classes, class_positions(classes, labels)


def draw_classes(
    labels: Tensor, num_classes: int, rate: float, step: Tensor | int, seed: int
) -> Tensor:
    """Draw the classes (S,) of `sample_classes`, from (B,) int64 labels."""
    check_number("rate", rate, 0, 1, open_low=True)
    check_range("labels", labels, -1, num_classes, synchronize=True)
    device = labels.device
    key = splitmix64(torch.tensor(seed, device=device), torch.as_tensor(step, device=device))
    hashes = splitmix64(key, torch.arange(num_classes, device=device))
    is_drawn = unsigned_shift(hashes, 11) < int(rate * 2**53)  # 53 bits: exact for any float
    in_batch = torch.zeros(num_classes + 1, dtype=torch.bool, device=device)
    in_batch[torch.where(labels < 0, num_classes, labels)] = True
    return (is_drawn | in_batch[:-1]).nonzero().flatten()


def class_positions(classes: Tensor, labels: Tensor) -> Tensor:
    """Return (B,) labels as positions among ascending classes; -1 stays -1."""
    return torch.where(labels < 0, -1, torch.searchsorted(classes, labels))
