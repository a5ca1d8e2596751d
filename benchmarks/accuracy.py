"""Errors of loss and gradients against float64, for the table of docs/accuracy.md.

    python benchmarks/accuracy.py

Every row is one way to compute an ArcFace loss from the same numbers, ours or plain torch in the
same precision. An error is the root mean square of the difference over that of the exact value,
the median over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from render import DOCS, between_markers
from torch import Tensor
from torch.nn import functional as F

from fairloss.io.atomic import write_text
from fairloss_ext import cosine_partition, margin_loss

MARGIN, SCALE = 0.5, 64.0
HARD_FROM, HARD = 0.05, (0.2, 1.0, 0.1)  # cosines above the first become a c^2 + b c + d
BATCH, DIM, CLASSES, SEEDS = 128, 512, 10_000, 5
NAMES = ("loss", "gradient of embeddings", "gradient of weight", "gradient of scale")

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # of embeddings, weight, labels, scale


def plain(compute: torch.dtype, hard: bool = False) -> Loss:
    """ArcFace in torch, with unit vectors rounded to `compute` before they are multiplied."""

    def loss(embeddings: Tensor, weight: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        unit = [F.normalize(x.to(wide)).to(compute) for x in (embeddings, weight)]
        cosine = F.linear(*unit).to(wide)
        rows = torch.arange(len(labels))
        target = cosine[rows, labels]
        sine = (1 - target.square()).clamp(min=0).sqrt()
        margin = torch.tensor(MARGIN, dtype=wide)
        beyond = target < -margin.cos()  # theta + m > pi, where ArcFace continues linearly
        with_margin = torch.where(
            beyond,
            target - margin * margin.sin(),
            target * margin.cos() - sine * margin.sin(),
        )
        if hard:
            a, b, d = HARD
            cosine = torch.where(cosine > HARD_FROM, (a * cosine + b) * cosine + d, cosine)
        logits = cosine.index_put((rows, labels), with_margin)
        return F.cross_entropy(scale * logits, labels)

    return loss


def ours(hard: bool = False, **options: Any) -> Loss:
    if hard:
        options |= {"hard_threshold": torch.full((BATCH,), HARD_FROM), "hard_coefficients": HARD}

    def loss(embeddings: Tensor, weight: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
        partition = cosine_partition(embeddings, weight, labels, scale, **options)
        return margin_loss(*partition, labels, MARGIN, scale=scale).mean()

    return loss


def values(loss: Loss, inputs: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """Return the loss and its gradients, in float64."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    total = loss(leaves[0], leaves[1], labels, leaves[2])
    return [x.detach().double() for x in (total, *torch.autograd.grad(total, leaves))]


def errors(loss: Loss, dtype: torch.dtype, hard: bool = False) -> list[float]:
    """Return the median error of the loss and of every gradient, for inputs of `dtype`."""
    per_seed = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        labels = torch.randint(CLASSES, (BATCH,))
        weight = torch.randn(CLASSES, DIM)
        embeddings = 0.7 * weight[labels] + torch.randn(
            BATCH, DIM
        )  # as in the middle of a training
        scale = torch.tensor(SCALE)
        inputs = (embeddings.to(dtype), (0.01 * weight).to(dtype), scale)
        exact = values(plain(torch.float64, hard), [x.double() for x in inputs], labels)
        pairs = zip(values(loss, inputs, labels), exact, strict=True)
        per_seed.append([float((a - b).norm() / b.norm()) for a, b in pairs])
    return [statistics.median(column) for column in zip(*per_seed, strict=True)]


def rows() -> list[tuple[str, str, list[float], list[float]]]:
    """Return inputs, way, its errors, and those of plain torch with the same dtypes."""
    table = []
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        same = errors(plain(torch.float32), dtype)
        for way, workspace in (("stored", "auto"), ("recompute", "recompute")):
            table.append((short(dtype), way, errors(ours(workspace=workspace), dtype), same))
        same = errors(plain(torch.float32, hard=True), dtype, hard=True)
        mine = errors(ours(hard=True), dtype, hard=True)
        table.append((short(dtype), "hard negatives", mine, same))
    for compute in (torch.bfloat16, torch.float16):
        same = errors(plain(compute), torch.float32)
        way = f"compute_dtype={short(compute)}"
        table.append(("float32", way, errors(ours(compute_dtype=compute), torch.float32), same))
    return table


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def markdown() -> str:
    lines = ["| inputs | way | " + " | ".join(NAMES) + " |", "| --- | --- |" + " ---: |" * 4]
    for inputs, way, mine, torchs in rows():
        cells = [f"{a:.1e} ({a / b:.2f})" for a, b in zip(mine, torchs, strict=True)]
        lines.append(f"| {inputs} | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = DOCS / "accuracy.md"
    table = markdown()
    print(table)
    write_text(page, between_markers(page.read_text(encoding="utf-8"), table))
