from __future__ import annotations

import pytest
import torch
from oracles import phi
from torch.nn import functional as F

from fairloss_ext import margin_logits, margin_loss, reference


def problem(batch=6, classes=9, dtype=torch.float64):
    cosine = (2 * torch.rand(batch, classes, dtype=dtype) - 1) * 0.99
    return cosine, torch.randint(0, classes, (batch,))


def test_only_the_target_is_transformed():
    cosine, labels = problem()
    labels[2] = -1
    logits = margin_logits(cosine, labels, 0.5, scale=10.0)
    expected = 10.0 * cosine
    for i, label in enumerate(labels.tolist()):
        if label >= 0:
            expected[i, label] = 10.0 * phi(cosine[i, label], "arc", torch.tensor(0.5), "linear")
    torch.testing.assert_close(logits, expected)


def test_cross_entropy_of_the_logits_is_margin_loss():
    cosine, labels = problem()
    margins = torch.rand(9, dtype=torch.float64)
    losses = F.cross_entropy(margin_logits(cosine, labels, margins), labels, reduction="none")
    target = cosine.gather(1, labels[:, None])[:, 0]
    others = (64.0 * cosine).scatter(1, labels[:, None], float("-inf")).logsumexp(1)
    torch.testing.assert_close(losses, margin_loss(target, others, labels, margins))


@pytest.mark.parametrize("function", [margin_logits, reference.margin_logits])
@pytest.mark.parametrize("kind", ["arc", "cos", "sphere", "combined"])
@pytest.mark.parametrize("grouped", [False, True])
def test_gradcheck(function, kind, grouped):
    cosine, labels = problem(4, 5)
    labels[1] = -1
    rows = 2 if grouped else 5
    margins = 0.2 + 0.2 * torch.rand(rows, *([3] if kind == "combined" else []))
    groups = torch.tensor([0, 1, 1, 0, 1]) if grouped else None
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def logits(cosine, margins, scale):
        return function(cosine, labels, margins, groups, kind=kind, scale=scale)

    leaves = (cosine.requires_grad_(), margins.double().requires_grad_(), scale)
    assert torch.autograd.gradcheck(logits, leaves)


def test_half_precision_cosines_give_float32_logits():
    cosine, labels = problem(dtype=torch.float32)
    logits = margin_logits(cosine.bfloat16(), labels, 0.3, kind="cos")
    assert logits.dtype == torch.float32
    torch.testing.assert_close(
        logits, reference.margin_logits(cosine.bfloat16(), labels, 0.3, kind="cos")
    )


def test_empty_batches_and_strides_work_and_a_vector_is_refused():
    assert margin_logits(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5).shape == (0, 4)
    cosine, labels = problem()
    strided = cosine.T.contiguous().T
    torch.testing.assert_close(
        margin_logits(strided, labels, 0.5), margin_logits(cosine, labels, 0.5)
    )
    with pytest.raises(ValueError, match="cosine: expected shape"):
        margin_logits(cosine[0], labels, 0.5)


@pytest.mark.cpu_only
def test_a_wrong_label_is_named():
    cosine, _ = problem()
    with pytest.raises(ValueError, match="labels: expected -1 to .*, got 9 at position 0"):
        margin_logits(cosine, torch.full((6,), 9), 0.5)


@pytest.mark.parametrize("needs_scale", [True, False])
def test_opcheck(needs_scale):
    cosine, labels = problem(dtype=torch.float32)
    margins = torch.rand(9, requires_grad=True)
    scale = torch.tensor(8.0, requires_grad=needs_scale)
    arguments = (cosine.requires_grad_(), labels, margins, None, scale, 1, 0, 0, False)
    torch.library.opcheck(torch.ops.fairloss.margin_logits, arguments)
    _, target, rows = torch.ops.fairloss.margin_logits(*arguments)
    saved = cosine.detach() if needs_scale else torch.empty(0, 0)
    arguments = (torch.ones(6, 9), saved, target.detach(), rows, labels, scale.detach(), 9)
    torch.library.opcheck(torch.ops.fairloss.margin_logits_backward, arguments)


@pytest.mark.parametrize("function", [margin_logits, reference.margin_logits])
def test_the_gradient_of_a_zero_scale(function):
    cosine, labels = problem()
    scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    function(cosine, labels, 0.5, scale=scale).sum().backward()
    expected = margin_logits(cosine, labels, 0.5, scale=1.0).sum()
    torch.testing.assert_close(scale.grad, expected)


def test_a_penalty_on_the_gradient_is_refused():
    cosine, labels = problem()
    cosine.requires_grad_()
    logits = margin_logits(cosine, labels, 0.5)
    (gradient,) = torch.autograd.grad(logits.sum(), cosine, create_graph=True)
    with pytest.raises(RuntimeError, match="no double backward"):
        gradient.square().sum().backward()
