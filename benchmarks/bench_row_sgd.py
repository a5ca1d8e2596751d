"""A whole step with a tenth of the classes, head and optimizer, against one with all of them."""

from __future__ import annotations

import torch

from fairloss.heads import ArcFace
from fairloss.optim import RowSGD

LETTERS = "BDC"
SIZES = [(256, 512, 100_000)]
FULL_SIZES = [(256, 512, 1_000_000)]
RATE = 0.1
OPTIONS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}


def bench_step(compare, size):
    batch, dim, classes = size
    embeddings = torch.randn(batch, dim, requires_grad=True)
    labels = torch.randint(classes, (batch,))
    full, sampled = (ArcFace(classes, dim, sample_rate=rate) for rate in (1.0, RATE))
    compare(
        {
            "ours": step(sampled, RowSGD(sampled.parameters(), **OPTIONS), embeddings, labels),
            "all classes": step(
                full, torch.optim.SGD(full.parameters(), **OPTIONS), embeddings, labels
            ),
        }
    )


def step(head, optimizer, embeddings, labels):
    def run():
        optimizer.zero_grad()
        embeddings.grad = None
        head(embeddings, labels).backward()
        optimizer.step()

    return run
