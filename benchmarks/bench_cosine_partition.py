from __future__ import annotations

import torch

from fairloss_ext import cosine_partition, reference

SIZES = [(64, 256, 2000)]  # (B, D, C)
FULL_SIZES = [(128, 512, 10_000), (256, 512, 40_000), (128, 512, 100_000)]


def bench_forward(race, size):
    batch, dim, classes = size
    embeddings, weight = torch.randn(batch, dim), torch.randn(classes, dim)
    labels = torch.randint(classes, (batch,))
    race(
        {
            "ours": lambda: cosine_partition(embeddings, weight, labels),
            "reference": lambda: reference.cosine_partition(embeddings, weight, labels),
        }
    )


def bench_forward_backward(race, size):
    batch, dim, classes = size
    leaves = [torch.randn(batch, dim), torch.randn(classes, dim)]
    for leaf in leaves:
        leaf.requires_grad_()
    labels = torch.randint(classes, (batch,))

    def step(function, **options):
        target, nlse = function(*leaves, labels, **options)
        return torch.autograd.grad((nlse - 64 * target).sum(), leaves)

    race(
        {
            "ours": lambda: step(cosine_partition),
            "recompute": lambda: step(cosine_partition, workspace="recompute"),
            "reference": lambda: step(reference.cosine_partition),
        }
    )
