"""`fairloss_ext.sampled_classes` in plain torch."""

from collections.abc import Callable

import torch
from torch import Tensor

from fairloss_ext._arguments import as_labels, as_step
from fairloss_ext._checks import check_range, check_shape, expect
from fairloss_ext.splitmix64 import splitmix64

ROUNDS = 12  # as kRounds in csrc/include/fairloss/permutation.h


def sampled_classes(
    labels: Tensor,  # (B,)
    num_classes: int,
    samples: int,
    step: Tensor | int,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """See `fairloss_ext.sampled_classes`."""
    labels = as_labels(labels)
    expect(1 <= num_classes < 2**31, "num_classes", "at least 1 and fewer than 2^31", num_classes)
    expect(0 <= samples <= num_classes, "samples", f"0 to {num_classes}", samples)
    check_shape("labels", labels, labels.numel())
    check_range("labels", labels, -1, num_classes)
    key = splitmix64(torch.tensor(seed, device=labels.device), as_step(step, labels.device))
    bits = (num_classes - 1).bit_length()

    def walk(network: Callable[[Tensor, Tensor, int], Tensor], start: Tensor) -> Tensor:
        """Apply the network to numbers that are no classes until they are."""
        numbers = network(start, key, bits)
        while (beyond := numbers >= num_classes).any():
            numbers = torch.where(beyond, network(numbers, key, bits), numbers)
        return numbers

    drawn = walk(_forward, torch.arange(samples, device=labels.device))
    slot = walk(_backward, labels.clamp(min=0))  # of each label in the permutation
    same = labels[:, None] == labels
    first = same.int().argmax(dim=1) if len(labels) else labels  # of equal ones the first
    is_first = first == torch.arange(len(labels), device=labels.device)
    positions = torch.where(slot < samples, slot, samples + first)
    others = torch.where((labels >= 0) & (slot >= samples) & is_first, labels, -1)
    return torch.cat([drawn, others]), torch.where(labels < 0, -1, positions)


def _halves(round_number: int, bits: int) -> tuple[int, int]:
    """Return the numbers of bits of the left and of the right half."""
    shorter, longer = bits // 2, bits - bits // 2
    return (shorter, longer) if round_number % 2 == 0 else (longer, shorter)


def _forward(x: Tensor, key: Tensor, bits: int) -> Tensor:
    """Apply a Feistel network: (left, right) becomes (right, left ^ hash(right))."""
    for number in range(ROUNDS):
        left_bits, right_bits = _halves(number, bits)
        left, right = x >> right_bits, x & ((1 << right_bits) - 1)
        hashed = splitmix64(key, (number << 32) | right) & ((1 << left_bits) - 1)
        x = (right << left_bits) | (left ^ hashed)
    return x


def _backward(x: Tensor, key: Tensor, bits: int) -> Tensor:
    """Invert `_forward`."""
    for number in reversed(range(ROUNDS)):
        left_bits, right_bits = _halves(number, bits)
        right, low = x >> left_bits, x & ((1 << left_bits) - 1)
        hashed = splitmix64(key, (number << 32) | right) & ((1 << left_bits) - 1)
        x = ((low ^ hashed) << right_bits) | right
    return x
