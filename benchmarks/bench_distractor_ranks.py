from __future__ import annotations

import torch
from torch.nn import functional as F

from fairloss_ext import distractor_ranks, reference

SIZES = [(100, 128, 5000, 1000)]  # (P, D, M, T)
FULL_SIZES = [(3530, 512, 100_000, 20_000)]
TAIL = 1000


def bench_forward(race, size):
    probes, dim, distractors, trials = size
    problem = (
        F.normalize(torch.randn(probes, dim)),
        F.normalize(torch.randn(distractors, dim)),
        torch.randint(probes, (trials,)),
        torch.rand(trials) / 4,
        TAIL,
    )
    race(
        {
            "ours": lambda: distractor_ranks(*problem),
            "reference": lambda: reference.distractor_ranks(*problem),
        }
    )
