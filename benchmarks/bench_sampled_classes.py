from __future__ import annotations

import torch

from fairloss_ext import sampled_classes

LETTERS = "BCS"
SIZES = [(256, 1_000_000, 10_000)]
FULL_SIZES = [(1024, 10_000_000, 1_000_000)]


def bench_draw(compare, size):
    batch, classes, samples = size
    labels = torch.randint(classes, (batch,))
    compare(
        {
            "ours": lambda: sampled_classes(labels, classes, samples, 1),
            "top-k": lambda: highest_random_numbers(labels, classes, samples),
        }
    )


def highest_random_numbers(labels, classes, samples):
    """Draw as PartialFC does: the classes with the highest random numbers; the batch's have 2."""
    number = torch.rand(classes)
    number[labels] = 2
    index = number.topk(samples).indices.sort().values
    return index, torch.searchsorted(index, labels)
