"""The whole loss, forward and backward, against the heads that face trainers run."""

from __future__ import annotations

import floors
import peers
import torch
from interleaved import LeftOut
from peers import MARGIN, SCALE

from fairloss_ext import margin_softmax_loss

LETTERS = "BDC"
SIZES = [(128, 512, 10_000), (256, 512, 100_000)]
FULL_SIZES = [(256, 512, 1_000_000)]
MOST_CLASSES_OF_PEERS = 100_000


def bench_forward_backward(race, size, note):
    leaves, labels = problem(size)
    batch, dim, classes = size
    contenders = ours(leaves, labels) | {"floor": floors.three_products(*leaves, note)}
    if classes <= MOST_CLASSES_OF_PEERS:
        race(contenders | others(leaves, labels, note))
        return
    needed = 4 * (2 * classes * dim + 5 * batch * classes) / 2**30  # W/|W| and its gradient; logits
    note(f"plain torch left out: at this size it needs about {needed:.0f} GiB besides inputs")
    race(contenders)


def bench_on_1_to_n_threads(race, request, note):
    leaves, labels = problem(SIZES[0])
    contenders = ours(leaves, labels) | {"floor": floors.three_products(*leaves, note)}
    chosen = {name: contenders[name] for name in ("ours", "bf16", "floor")}
    race(chosen, thread_counts=(1, max(2, request.config.getoption("--threads"))))


def problem(size):
    batch, dim, classes = size
    leaves = [torch.randn(batch, dim), 0.01 * torch.randn(classes, dim)]
    return [leaf.requires_grad_() for leaf in leaves], torch.randint(classes, (batch,))


def step(leaves, labels, function, **options):
    loss = function(*leaves, labels, MARGIN, scale=SCALE, **options)
    return torch.autograd.grad(loss, leaves)


def ours(leaves, labels):
    def contender(**options):
        return lambda: step(leaves, labels, margin_softmax_loss, **options)

    every_cosine = 4 * len(labels) * len(leaves[1])  # bytes; the default keeps a little less
    return {
        "ours": contender(),
        "stored": contender(workspace=every_cosine),
        "recompute": contender(workspace="recompute"),
        "bf16": contender(compute_dtype=torch.bfloat16),
    }


def others(leaves, labels, note):
    """The peers, once it is checked that they compute the same loss."""
    checked = {"eager": peers.insightface_style(*leaves, labels)}
    contenders = {
        "eager": lambda: torch.autograd.grad(peers.insightface_style(*leaves, labels), leaves),
        "compiled": lambda: peers.compiled_step(*leaves, labels),
        "linear_cross_entropy": lambda: torch.autograd.grad(
            peers.linear_cross_entropy(*leaves, labels), leaves
        ),
    }
    try:
        metric_learning = peers.PytorchMetricLearning(*leaves)
    except LeftOut as reason:
        note(str(reason))
    else:
        checked["metric_learning"] = metric_learning.loss(labels)
        contenders["metric_learning"] = lambda: metric_learning.step(labels)
    expected = margin_softmax_loss(*leaves, labels, MARGIN, scale=SCALE)
    for name, loss in checked.items():
        torch.testing.assert_close(loss, expected, msg=lambda text, name=name: f"{name}: {text}")
    return contenders
