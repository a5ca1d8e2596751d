"""A fixed number of classes drawn at random in each step, and those of the batch."""

import torch
from torch import Tensor

from fairloss_ext import _library, reference
from fairloss_ext._arguments import as_labels, as_step


def sampled_classes(
    labels: Tensor,  # (B,)
    num_classes: int,
    samples: int,
    step: Tensor | int,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Draw exactly `samples` classes at random, append the batch's others, and locate the labels.

    A permutation of the classes, keyed by a hash of (seed, step), is evaluated where it is needed:
    work of size S + B, whatever the number of classes. Nothing is sorted and nothing synchronizes a
    GPU; every rank, device and resumed run draws the same. Shapes are fixed, and with `step` as a
    tensor so is a captured or compiled graph.

    Args:
        labels: (B,) or (B, 1) integers in [-1, num_classes); -1 is no class.
        num_classes: C, below 2^31.
        samples: S, 0 to C. Each set of S classes is as likely as any other.
        step: number of the step, an integer or a 0-d int64 tensor.
        seed: any signed 64-bit integer.

    Returns:
        classes (S + B,) int64: the first S are drawn, all different. Slot S + i holds the class of
        sample i if it was not drawn and no earlier sample has it, else -1. And positions (B,)
        int64 of the labels in these; -1 stays -1. On a GPU, where a check would synchronize, a
        label out of range becomes -2, for which the other ops return NaN.

    Raises:
        ValueError: a shape, a dtype or a value out of range; it names the argument.
    """
    labels = as_labels(labels)
    step = as_step(step, labels.device)
    if not _library.serves("sampled_classes", labels):
        return reference.sampled_classes(labels, num_classes, samples, step, seed)
    classes, positions = _library.call("sampled_classes", labels, step, num_classes, samples, seed)
    return classes, positions


def _fake(
    labels: Tensor, step: Tensor, num_classes: int, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    return labels.new_empty((samples + labels.shape[0],)), torch.empty_like(labels)


_library.register("sampled_classes", _fake)
