"""Small batches and modules for the tests that every loss has to pass."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from head_cases import CASES

from fairloss import heads

CLASSES, DIM, BATCH = 4, 3, 6
REGULARIZERS = {
    "CenterLoss": partial(heads.CenterLoss, CLASSES, DIM),
    "UniformFace": partial(heads.UniformFace, CLASSES, DIM),
    "RingLoss": heads.RingLoss,
    "Triplet": heads.Triplet,
}
EVERY = pytest.mark.parametrize("name", [*CASES, *REGULARIZERS])
# Without the variants of a head, where a test is slow.
ONCE = pytest.mark.parametrize("name", [*heads.HEADS, *REGULARIZERS])
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
IGNORED = torch.tensor([0, 1, -1, 3, -1, 1])


def make(name, **options):
    torch.manual_seed(3)
    if name in REGULARIZERS:
        return REGULARIZERS[name](**options)
    head = CASES[name].make(CLASSES, DIM, **options)
    torch.nn.init.normal_(head.weight)
    return head


def rows(length=12.0, seed=5):
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(BATCH, DIM, generator=generator))
    return length * directions


def run(head, *arguments, **options):
    torch.manual_seed(7)  # of ElasticFace
    return head(*arguments, **options)
