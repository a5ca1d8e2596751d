"""The whole loss, forward and backward, against the heads of other trainers."""

from __future__ import annotations

import baselines
import roofline
import torch
from baselines import MARGIN, SCALE
from interleaved import LeftOut

from fairloss_ext import margin_softmax_loss

LETTERS = "BDC"
SIZES = [(128, 512, 10_000), (256, 512, 100_000)]
FULL_SIZES = [(256, 512, 1_000_000)]
MOST_CLASSES_OF_BASELINES = 100_000


def bench_forward_backward(compare, size, note):
    leaves, labels = problem(size)
    batch, dim, classes = size
    candidates = ours(leaves, labels) | {"bound": roofline.three_products(*leaves, note)}
    if classes <= MOST_CLASSES_OF_BASELINES:
        compare(candidates | other_heads(leaves, labels, note))
        return
    needed = 4 * (2 * classes * dim + 5 * batch * classes) / 2**30  # W/|W| and its gradient; logits
    note(f"plain torch left out: at this size it needs about {needed:.0f} GiB besides inputs")
    compare(candidates)


def bench_on_1_to_n_threads(compare, request, note):
    leaves, labels = problem(SIZES[0])
    candidates = ours(leaves, labels) | {"bound": roofline.three_products(*leaves, note)}
    selected = {name: candidates[name] for name in ("ours", "bf16", "bound")}
    compare(selected, thread_counts=(1, max(2, request.config.getoption("--threads"))))


def problem(size):
    batch, dim, classes = size
    leaves = [torch.randn(batch, dim), 0.01 * torch.randn(classes, dim)]
    return [leaf.requires_grad_() for leaf in leaves], torch.randint(classes, (batch,))


def step(leaves, labels, function, **options):
    loss = function(*leaves, labels, MARGIN, scale=SCALE, **options)
    return torch.autograd.grad(loss, leaves)


def ours(leaves, labels):
    def with_options(**options):
        return lambda: step(leaves, labels, margin_softmax_loss, **options)

    every_cosine = 4 * len(labels) * len(leaves[1])  # bytes; the default saves a little less
    return {
        "ours": with_options(),
        "stored": with_options(workspace=every_cosine),
        "recompute": with_options(workspace="recompute"),
        "bf16": with_options(compute_dtype=torch.bfloat16),
    }


def other_heads(leaves, labels, note):
    """Return the baselines; those with the margin are checked to compute the same loss."""
    checked = {"eager": baselines.insightface_style(*leaves, labels)}
    candidates = {
        "eager": lambda: torch.autograd.grad(baselines.insightface_style(*leaves, labels), leaves),
        "compiled": lambda: baselines.compiled_step(*leaves, labels),
        "linear_cross_entropy": lambda: torch.autograd.grad(
            baselines.linear_cross_entropy(*leaves, labels), leaves
        ),
    }
    try:
        metric_learning = baselines.PytorchMetricLearning(*leaves)
    except LeftOut as reason:
        note(str(reason))
    else:
        checked["metric_learning"] = metric_learning.loss(labels)
        candidates["metric_learning"] = lambda: metric_learning.step(labels)
    expected = margin_softmax_loss(*leaves, labels, MARGIN, scale=SCALE)
    for name, loss in checked.items():
        torch.testing.assert_close(loss, expected, msg=lambda text, name=name: f"{name}: {text}")
    return candidates
