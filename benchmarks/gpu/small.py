"""Every op once on small odd shapes, forward and backward: what compute-sanitizer can bear.

python -m gpu.small cuda
"""

from __future__ import annotations

import sys

import torch

from fairloss_ext import margin_softmax_loss
from gpu.clock import Clock
from gpu.races import choices, margins, ranks, statistics


def main(device: str) -> None:
    clock = Clock(torch.device(device), rounds=1)
    failed = []
    for race in (margins, statistics, ranks):
        failed += [row for row in race(clock, tiny=True) if row.reason]
    for batch, dim, classes in ((33, 63, 7), (5, 1, 1), (70, 512, 1000)):
        for options in ({}, *choices(margin_softmax_loss).values()):
            leaves = [
                torch.randn(n, dim, device=device, requires_grad=True) for n in (batch, classes)
            ]
            labels = torch.randint(-1, classes, (batch,), device=device)
            margin_softmax_loss(*leaves, labels, 0.5, **options).backward()
    if failed:
        sys.exit(f"{failed[0].op}: {failed[0].reason}")
    print("every op ran")


if __name__ == "__main__":
    main(sys.argv[1])
