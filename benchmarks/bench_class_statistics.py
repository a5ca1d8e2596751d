from __future__ import annotations

import torch

from fairloss_ext import class_statistics, reference

SIZES = [(5000, 128, 500)]  # (N, D, C)
FULL_SIZES = [(100_000, 512, 10_000)]


def bench_forward(race, size):
    samples, dim, classes = size
    embeddings, labels = torch.randn(samples, dim), torch.randint(classes, (samples,))
    race(
        {
            "ours": lambda: class_statistics(embeddings, labels, classes),
            "reference": lambda: reference.class_statistics(embeddings, labels, classes),
        }
    )
