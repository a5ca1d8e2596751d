from __future__ import annotations

import torch

from fairloss_ext import margin_loss, reference

LETTERS = "BC"
SIZES = [(512, 10_000)]
FULL_SIZES = [(8192, 1_000_000)]


def bench_forward_backward(compare, size):
    batch, classes = size
    target = (2 * torch.rand(batch) - 1).requires_grad_()
    nlse = (40 + torch.randn(batch)).requires_grad_()
    labels, groups = torch.randint(classes, (batch,)), torch.randint(3, (classes,))
    margins = torch.tensor([0.3, 0.4, 0.5], requires_grad=True)

    def step(function):
        loss = function(target, nlse, labels, margins, groups).sum()
        return torch.autograd.grad(loss, (target, nlse, margins))

    compare({"ours": lambda: step(margin_loss), "reference": lambda: step(reference.margin_loss)})
