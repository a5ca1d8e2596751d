"""Every op once on small odd shapes, forward and backward: short enough for compute-sanitizer.

python -m gpu.small cuda [case ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch

from fairloss_ext import cosine_partition, margin_softmax_loss, sampled_classes
from gpu.clock import Clock
from gpu.comparisons import choices, margins, ranks, statistics
from gpu.results import Row

SHAPES = ((33, 63, 7), (5, 1, 1), (70, 512, 1000))


def run_comparison(
    comparison: Callable[[Clock, bool], Iterator[Row]], device: torch.device
) -> None:
    for row in comparison(Clock(device, rounds=1), True):
        if row.reason:
            raise RuntimeError(f"{row.op}, {row.candidate}: {row.reason}")


def losses(device: torch.device, fused: bool) -> None:
    """Run every dtype, plain and with hard negatives."""
    options = [
        o for o in ({}, *choices(margin_softmax_loss).values()) if o.get("fused", 0) == fused
    ]
    for batch, dim, classes in SHAPES:
        labels = torch.randint(-1, classes, (batch,), device=device)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            leaves = [
                torch.randn(n, dim, device=device, dtype=dtype, requires_grad=True)
                for n in (batch, classes)
            ]
            hard = {"hard_threshold": torch.zeros(batch, device=device)}
            hard["hard_coefficients"] = torch.tensor([0.2, 1.0, 0.1], device=device)
            for choice in options:
                margin_softmax_loss(*leaves, labels, 0.5, **choice).backward()
                target, nlse = cosine_partition(*leaves, labels, **choice, **hard)
                (nlse.clamp(min=-100) - target).sum().backward()


def samples(device: torch.device) -> None:
    labels = torch.randint(1000, (70,), device=device)
    sampled_classes(labels, 1000, 100, seed=0, step=1)


CASES: dict[str, Callable[[torch.device], None]] = {
    "margins": partial(run_comparison, margins),
    "statistics": partial(run_comparison, statistics),
    "ranks": partial(run_comparison, ranks),
    "samples": samples,
    "losses": partial(losses, fused=False),
    "fused": partial(losses, fused=True),
}


def main(device: str, *cases: str) -> None:
    for name in cases or CASES:
        CASES[name](torch.device(device))
    print("every op ran")


if __name__ == "__main__":
    main(*sys.argv[1:])
