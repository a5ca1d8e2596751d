"""The whole loss, also against the eager head that most face trainers run."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from fairloss_ext import margin_softmax_loss, reference

SIZES = [(64, 256, 2000)]  # (B, D, C)
FULL_SIZES = [(128, 512, 10_000), (256, 512, 40_000), (128, 512, 100_000)]
MARGIN, SCALE = 0.5, 64.0


def insightface_style(embeddings, weight, labels):
    """ArcFace as insightface's recognition trainer computes it: every cosine to an angle and back,
    in place and outside autograd, so that the margin's slope counts as 1."""
    logits = F.linear(F.normalize(embeddings), F.normalize(weight)).clamp(-1, 1)
    with torch.no_grad():
        logits.arccos_()
        logits[torch.arange(len(labels)), labels] += MARGIN
        logits.cos_()
    return F.cross_entropy(SCALE * logits, labels)


def ours(embeddings, weight, labels):
    return margin_softmax_loss(embeddings, weight, labels, MARGIN, scale=SCALE)


def plain(embeddings, weight, labels):
    return reference.margin_softmax_loss(embeddings, weight, labels, MARGIN, scale=SCALE)


def bench_forward_backward(race, size):
    batch, dim, classes = size
    leaves = [torch.randn(batch, dim), 0.01 * torch.randn(classes, dim)]
    for leaf in leaves:
        leaf.requires_grad_()
    labels = torch.randint(classes, (batch,))
    for function in (plain, insightface_style):
        torch.testing.assert_close(ours(*leaves, labels), function(*leaves, labels))

    def step(function):
        return torch.autograd.grad(function(*leaves, labels), leaves)

    race(
        {
            "ours": lambda: step(ours),
            "reference": lambda: step(plain),
            "insightface": lambda: step(insightface_style),
        }
    )
