from __future__ import annotations

import math

import pytest
import torch
import torch._dynamo.testing
from hypothesis import given
from hypothesis import strategies as st
from oracles import cosines, margin_softmax_losses, worst
from torch.nn import functional as F

from fairloss_ext import margin_softmax_loss, reference

BOTH = pytest.mark.parametrize("function", [margin_softmax_loss, reference.margin_softmax_loss])


def problem(batch=24, dim=16, classes=30):
    return torch.randn(batch, dim), torch.randn(classes, dim), torch.randint(0, classes, (batch,))


def arcface(embeddings, weight, labels, margin, scale):
    """Written out as in the paper, for angles below pi - m."""
    cosine = F.linear(F.normalize(embeddings), F.normalize(weight))
    theta = torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))
    one_hot = F.one_hot(labels, weight.shape[0])
    return F.cross_entropy(scale * torch.cos(theta + margin * one_hot), labels)


def cosface(embeddings, weight, labels, margin, scale):
    cosine = F.linear(F.normalize(embeddings), F.normalize(weight))
    return F.cross_entropy(scale * (cosine - margin * F.one_hot(labels, weight.shape[0])), labels)


def test_constant_margin_is_arcface():
    arguments = problem()
    ours = margin_softmax_loss(*arguments, 0.5, extension="none")
    torch.testing.assert_close(ours, arcface(*arguments, 0.5, 64.0), rtol=1e-5, atol=1e-5)


def test_constant_margin_is_cosface():
    arguments = problem()
    ours = margin_softmax_loss(*arguments, 0.35, kind="cos")
    torch.testing.assert_close(ours, cosface(*arguments, 0.35, 64.0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "zero"), [("arc", 0.0), ("cos", 0.0), ("sphere", 1.0)])
def test_no_margin_is_normface(kind, zero):
    arguments = problem()
    ours = margin_softmax_loss(*arguments, zero, kind=kind, scale=20.0)
    torch.testing.assert_close(ours, cosface(*arguments, 0.0, 20.0), rtol=1e-5, atol=1e-5)


@given(
    st.integers(0, 30),
    st.integers(4, 50),
    st.integers(2, 100),
    st.sampled_from(["arc", "cos", "sphere"]),
    st.booleans(),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 2**31),
)
def test_values_and_gradients_match_float64(batch, dim, classes, kind, grouped, dtype, seed):
    torch.manual_seed(seed)
    embeddings = torch.randn(batch, dim).to(dtype)
    weight = torch.randn(classes, dim)
    labels = torch.randint(-1, classes, (batch,))
    base = {"arc": 0.3, "cos": 0.2, "sphere": 1.3}[kind]
    margins = base + 0.2 * torch.rand(4 if grouped else classes)
    groups = torch.randint(0, 4, (classes,)) if grouped else None
    scale = torch.tensor(16.0)
    upstream = torch.randn(batch)

    def results(function, cast):
        leaves = [cast(x).clone().requires_grad_() for x in (embeddings, weight, margins, scale)]
        losses = function(leaves[0], leaves[1], leaves[2], leaves[3])
        (losses * upstream.to(losses.dtype)).sum().backward()
        return [losses, *(x.grad for x in leaves)]

    def exact(e, w, m, s):
        rows = labels.clamp(min=0) if groups is None else groups[labels.clamp(min=0)]
        return margin_softmax_losses(e, w, labels, m[rows], kind=kind, scale=s)

    def ours(function):
        options = {"kind": kind, "reduction": "none", "compute_dtype": torch.float32}
        return lambda e, w, m, s: function(e, w, labels, m, groups, scale=s, **options)

    truth = results(exact, torch.Tensor.double)
    fused = results(ours(margin_softmax_loss), torch.Tensor.detach)
    plain = results(ours(reference.margin_softmax_loss), torch.Tensor.detach)
    # d theta / d cos = -1 / sin theta carries a cosine's rounding times 1 / sin^2 theta.
    labeled = labels >= 0
    target = cosines(embeddings, weight)[labeled, labels[labeled]]
    rounding = 1e-5 + 2**-22 * float((1 / (1 - target**2)).max() if len(target) else 0)
    names = ["loss", "embeddings", "weight", "margins", "scale"]
    for name, a, b, c in zip(names, fused, truth, plain, strict=True):
        error, allowed = worst(a, b, 1.0), worst(c, b, 1.0)
        assert allowed <= 2e-2, f"{name}: plain torch is off"  # bf16 gradients: 2^-8 of the largest
        assert error <= 3 * allowed + rounding, (name, error, allowed)


@pytest.mark.parametrize("loss", [margin_softmax_loss, reference.margin_softmax_loss])
def test_reductions_leave_out_ignored_samples(loss):
    embeddings, weight, labels = problem()
    labels[::3] = -1
    losses = loss(embeddings, weight, labels, 0.5, reduction="none")
    assert losses[::3].eq(0).all()
    labeled = labels >= 0
    torch.testing.assert_close(loss(embeddings, weight, labels, 0.5), losses[labeled].mean())
    total = loss(embeddings, weight, labels, 0.5, reduction="sum")
    torch.testing.assert_close(total, losses.sum())
    ignored = torch.full_like(labels, -1)
    assert loss(embeddings, weight, ignored, 0.5).item() == 0
    with pytest.raises(ValueError, match="reduction: expected one of .*, got 'median'"):
        loss(embeddings, weight, labels, 0.5, reduction="median")


@BOTH
def test_one_class_has_no_loss(function):
    embeddings = torch.randn(4, 8, requires_grad=True)
    weight = torch.randn(1, 8, requires_grad=True)
    loss = function(embeddings, weight, torch.zeros(4, dtype=torch.int64), 0.5)
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad.eq(0).all()
    assert weight.grad.eq(0).all()


@BOTH
@pytest.mark.parametrize("ignored", [False, True])
def test_a_nan_embedding_changes_its_own_loss_and_gradient_only(function, ignored):
    embeddings, weight, labels = problem()
    embeddings[5] = math.nan
    if ignored:
        labels[5] = -1  # a padding row: neither loss nor gradient
    leaves = [embeddings.requires_grad_(), weight.requires_grad_()]
    margins = torch.full((30,), 0.4, requires_grad=True)
    losses = function(*leaves, labels, margins, reduction="none")
    invalid = [] if ignored else [5]
    assert losses.isnan().nonzero().flatten().tolist() == invalid
    losses.sum().backward()
    assert embeddings.grad.isnan().any(1).nonzero().flatten().tolist() == invalid
    assert weight.grad.isfinite().all()
    assert margins.grad.isfinite().all()


def test_compiles_whole_and_does_not_recompile():
    embeddings, weight, labels = problem()
    margins, groups = torch.rand(9), torch.randint(0, 9, (30,))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def loss(embeddings, weight, labels, margins, groups, scale):
        return margin_softmax_loss(embeddings, weight, labels, margins, groups, scale=scale)

    weight.requires_grad_()
    for scale, margin in [(64.0, 0.1), (32.0, 0.5), (8.0, 0.9)]:
        margins.fill_(margin)
        arguments = (embeddings, weight, labels, margins, groups, torch.tensor(scale))
        compiled = loss(*arguments)
        (gradient,) = torch.autograd.grad(compiled, weight)
        plain = margin_softmax_loss(*arguments[:-1], scale=scale)
        torch.testing.assert_close(compiled, plain)
        torch.testing.assert_close(gradient, torch.autograd.grad(plain, weight)[0])
    assert counter.frame_count == 1


def test_a_python_scale_recompiles_at_most_once():
    embeddings, weight, labels = problem()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def loss(scale, margin):
        return margin_softmax_loss(embeddings, weight, labels, margin, scale=scale)

    for scale, margin in [(64.0, 0.1), (32.0, 0.2), (16.0, 0.3), (8.0, 0.4)]:
        expected = margin_softmax_loss(embeddings, weight, labels, margin, scale=scale)
        torch.testing.assert_close(loss(scale, margin), expected)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("owner", ["class", "sample"])
def test_any_batch_size_compiles_once(owner):
    weight, margins = torch.randn(30, 16, requires_grad=True), torch.rand(30)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def loss(embeddings, labels, sample_margins):
        if owner == "sample":
            return margin_softmax_loss(
                embeddings, weight, labels, None, sample_margins=sample_margins
            )
        return margin_softmax_loss(embeddings, weight, labels, margins)

    for batch in (8, 12, 20, 33):
        sample_margins = torch.rand(batch, requires_grad=True)
        arguments = [torch.randn(batch, 16), torch.randint(0, 30, (batch,)), sample_margins]
        for tensor in arguments:
            torch._dynamo.mark_dynamic(tensor, 0)
        loss(*arguments).backward()
    assert counter.frame_count == 1


def test_the_reference_compiles_whole():
    embeddings, weight, labels = problem()
    compiled = torch.compile(reference.margin_softmax_loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(embeddings, weight, labels, 0.5),
        reference.margin_softmax_loss(embeddings, weight, labels, 0.5),
    )


@BOTH
def test_bf16_autocast_trains(function):
    linear = torch.nn.Linear(16, 16)
    _, weight, labels = problem()
    weight.requires_grad_()
    with torch.autocast(weight.device.type, dtype=torch.bfloat16):
        embeddings = linear(torch.randn(24, 16))
        loss = function(embeddings, weight, labels, 0.5, compute_dtype=torch.float32)
    loss.backward()
    assert embeddings.dtype == torch.bfloat16
    assert loss.dtype == weight.grad.dtype == torch.float32
    assert linear.weight.grad.isfinite().all()
    exact = margin_softmax_losses(
        embeddings.detach(), weight.detach(), labels, torch.tensor(0.5), kind="arc", scale=64.0
    )
    assert loss.item() == pytest.approx(exact.mean().item(), rel=1e-5)


@BOTH
def test_a_table_of_the_wrong_length_is_refused(function):
    embeddings, weight, labels = problem()
    with pytest.raises(ValueError, match="margins: expected one row a class, 30, got 20"):
        function(embeddings, weight, labels.clamp(max=3), torch.rand(20))
    with pytest.raises(ValueError, match="groups: expected one row a class, 30, got 40"):
        function(embeddings, weight, labels, torch.rand(4), torch.zeros(40, dtype=torch.int64))


def test_sample_margins_replace_the_table():
    embeddings, weight, labels = problem()
    triples = torch.rand(24, 3) * torch.tensor([0.1, 0.4, 0.2]) + torch.tensor([1.0, 0.0, 0.0])
    losses = margin_softmax_loss(
        embeddings, weight, labels, None, sample_margins=triples, extension="none", reduction="none"
    )
    expected = margin_softmax_losses(
        embeddings, weight, labels, triples.double(), kind="combined", scale=64.0, extension="none"
    )
    assert worst(losses, expected) < 1e-5
