from __future__ import annotations

import torch

from fairloss_ext import margin_logits, reference

LETTERS = "BC"
SIZES = [(128, 2000)]
FULL_SIZES = [(128, 100_000), (1024, 100_000)]


def bench_forward_backward(compare, size):
    batch, classes = size
    cosine = (2 * torch.rand(batch, classes) - 1).requires_grad_()
    labels, margins = torch.randint(classes, (batch,)), torch.rand(classes)
    upstream = torch.randn(batch, classes)

    def step(function):
        return torch.autograd.grad(function(cosine, labels, margins), cosine, upstream)

    compare(
        {"ours": lambda: step(margin_logits), "reference": lambda: step(reference.margin_logits)}
    )
