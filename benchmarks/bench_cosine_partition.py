from __future__ import annotations

import roofline
import torch

from fairloss_ext import cosine_partition, reference

LETTERS = "BDC"
SIZES = [(128, 512, 10_000)]
FULL_SIZES = [(256, 512, 40_000), (128, 512, 100_000)]
MV_SOFTMAX = (0.0, 1.2, 0.2)  # a hard negative c counts as 1.2 c + 0.2


def bench_forward(compare, size, note):
    leaves, labels = problem(size)
    compare(
        {
            "ours": lambda: cosine_partition(*leaves, labels),
            "reference": lambda: reference.cosine_partition(*leaves, labels),
            "bound": roofline.one_product(*leaves, note),
        }
    )


def bench_forward_backward(compare, size, note):
    leaves, labels = problem(size)
    for leaf in leaves:
        leaf.requires_grad_()
    compare(
        {
            "ours": lambda: step(cosine_partition, leaves, labels),
            "recompute": lambda: step(cosine_partition, leaves, labels, workspace="recompute"),
            "reference": lambda: step(reference.cosine_partition, leaves, labels),
            "bound": roofline.three_products(*leaves, note),
        }
    )


def bench_hard_negatives(compare, size, note):
    leaves, labels = problem(size)
    hard = {
        "hard_threshold": cosine_partition(*leaves, labels)[0],
        "hard_coefficients": torch.tensor(MV_SOFTMAX),
    }
    for leaf in leaves:
        leaf.requires_grad_()
    compare(
        {
            "ours": lambda: step(cosine_partition, leaves, labels, **hard),
            "reference": lambda: step(reference.cosine_partition, leaves, labels, **hard),
            "bound": roofline.three_products(*leaves, note),
        }
    )


def problem(size):
    batch, dim, classes = size
    leaves = [torch.randn(batch, dim), torch.randn(classes, dim)]
    return leaves, torch.randint(classes, (batch,))


def step(function, leaves, labels, **options):
    target, nlse = function(*leaves, labels, **options)
    return torch.autograd.grad((nlse - 64 * target).sum(), leaves)
