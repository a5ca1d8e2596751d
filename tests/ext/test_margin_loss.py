from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import phi
from torch.nn import functional as F

from fairloss_ext import margin_loss, reference

KINDS = {"arc": 0.5, "cos": 0.35, "sphere": 1.7}


def problem(batch=12, classes=5, dtype=torch.float64):
    cosine = (2 * torch.rand(batch, dtype=dtype) - 1) * 0.99
    nlse = 10 * torch.randn(batch, dtype=dtype)
    labels = torch.randint(0, classes, (batch,))
    return cosine, nlse, labels


# The papers print no continuation for the combination.
PRINTED = [(kind, e) for kind in KINDS for e in ("linear", "easy", "none")] + [("combined", "none")]


@pytest.mark.parametrize(("kind", "extension"), PRINTED)
def test_matches_the_formula(kind, extension):
    cosine, nlse, labels = problem(200)
    margin = torch.tensor([1.2, 0.3, 0.1]) if kind == "combined" else torch.tensor(KINDS[kind])
    margin = margin.double()
    expected = phi(cosine, kind, margin.expand(200, *margin.shape), extension)
    losses = margin_loss(cosine, nlse, labels, margin, kind=kind, scale=16.0, extension=extension)
    torch.testing.assert_close(losses, F.softplus(nlse - 16.0 * expected, threshold=1e9))


@pytest.mark.parametrize("kind", [*KINDS, "combined"])
@pytest.mark.parametrize("extension", ["linear", "easy", "none"])
@pytest.mark.parametrize("function", [margin_loss, reference.margin_loss])
@pytest.mark.parametrize("owner", ["class", "group", "sample", "all"])
def test_gradcheck(kind, extension, function, owner):
    cosine, nlse, labels = problem()
    labels[3] = -1
    groups = None
    rows = {"class": 5, "group": 3, "sample": len(labels), "all": 1}[owner]
    base = torch.tensor([1.2, 0.3, 0.1]) if kind == "combined" else torch.tensor(KINDS[kind])
    margins = base.double() + 0.1 * torch.rand(rows, *base.shape, dtype=torch.float64)
    if owner == "group":
        groups = torch.tensor([0, 2, 1, 0, 2])
    if owner == "all":
        margins = margins[0]
    leaves = [x.requires_grad_() for x in (cosine, nlse, margins)]
    scale = torch.tensor(4.0, dtype=torch.float64, requires_grad=True)

    def losses(cosine, nlse, margins, scale):
        table = {"margins": None, "sample_margins": margins}
        if owner != "sample":
            table = {"margins": margins, "groups": groups}
        return function(cosine, nlse, labels, **table, kind=kind, scale=scale, extension=extension)

    assert torch.autograd.gradcheck(losses, (*leaves, scale))


@given(st.integers(0, 40), st.integers(1, 9), st.sampled_from([*KINDS]), st.integers(0, 2**31))
def test_float32_is_as_good_as_torch(batch, classes, kind, seed):
    torch.manual_seed(seed)
    cosine, nlse, labels = problem(batch, classes)
    margins = (KINDS[kind] + 0.1 * torch.rand(classes)).double()
    exact = reference.margin_loss(cosine, nlse, labels, margins, kind=kind)
    arguments = (cosine.float(), nlse.float(), labels, margins.float())
    fused = margin_loss(*arguments, kind=kind)
    plain = reference.margin_loss(*arguments, kind=kind)
    if batch:
        # Plain torch may be exact by chance in a small batch: allow for roundings of the terms.
        allowed = 3 * ((plain - exact).abs().max() + 2**-24 * (64 + exact.abs().max()))
        assert (fused - exact).abs().max() <= allowed


def test_arcface_extension_steps_down_and_stays_decreasing():
    theta = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    cosine = theta.cos()
    labels = torch.zeros(2001, dtype=torch.int64)
    for kind, margin in KINDS.items():
        losses = margin_loss(cosine, torch.zeros(2001).double(), labels, margin, kind=kind, scale=1)
        value = -torch.log(torch.expm1(losses))  # softplus inverted: phi
        assert (value.diff() < 1e-12).all(), kind
    # One step at the border, from -1 to -cos m - m sin m (m = 0.5: -1.117).
    border = math.cos(math.pi - 0.5) + torch.tensor([1e-9, -1e-9], dtype=torch.float64)
    losses = margin_loss(border, torch.zeros(2).double(), labels[:2], 0.5, scale=1.0)
    value = -torch.log(torch.expm1(losses))
    assert value[0].item() == pytest.approx(-1.0, abs=1e-6)
    assert value[1].item() == pytest.approx(-math.cos(0.5) - 0.5 * math.sin(0.5), abs=1e-6)


def test_the_loss_is_exact_where_the_probability_is_nearly_one():
    """A float32 lse - logit would round to 0; the true loss is log(1 + e^-25)."""
    loss = margin_loss(
        torch.tensor([0.5]), torch.tensor([-9.0]), torch.tensor([0]), 0.0, scale=32.0
    )
    assert loss.item() == pytest.approx(math.log1p(math.exp(-25.0)), rel=1e-5)


@pytest.mark.parametrize("function", [margin_loss, reference.margin_loss])
@pytest.mark.parametrize("kind", ["arc", "sphere", "cos"])
@pytest.mark.parametrize("extension", ["linear", "easy", "none"])
def test_finite_gradient_at_the_poles(function, kind, extension):
    ulp = 2.0**-24
    cosine = torch.tensor([1.0, -1.0, 1 - ulp, -1 + ulp, 1 + 2 * ulp, -1 - 2 * ulp])
    cosine.requires_grad_()
    margins = torch.full((6,), KINDS[kind], requires_grad=True)
    labels = torch.arange(6)
    losses = function(cosine, torch.zeros(6), labels, margins, kind=kind, extension=extension)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert cosine.grad.isfinite().all()
    assert margins.grad.isfinite().all()
    max_slope = 64 * (1.0 if kind == "cos" else 1050 * max(1, KINDS[kind]))  # 1 / sin theta
    assert cosine.grad.abs().max() <= max_slope


@pytest.mark.parametrize("function", [margin_loss, reference.margin_loss])
def test_straight_through_keeps_the_value_and_drops_the_slope(function):
    cosine, nlse, labels = problem()
    cosine.requires_grad_()
    exact = function(cosine, nlse, labels, 0.5)
    straight = function(cosine, nlse, labels, 0.5, margin_grad="straight_through")
    torch.testing.assert_close(exact, straight)
    (gradient,) = torch.autograd.grad(straight.sum(), cosine)
    q = -torch.expm1(-straight)  # 1 - p
    torch.testing.assert_close(gradient, -64.0 * q.detach())


@pytest.mark.parametrize("function", [margin_loss, reference.margin_loss])
def test_ignored_samples_and_those_without_negatives_have_no_loss(function):
    cosine = torch.tensor([0.3, 0.4, 0.5], requires_grad=True)
    nlse = torch.tensor([2.0, -math.inf, 1.0])  # the second has no negatives: C = 1
    margins = torch.tensor([0.5, 0.4], requires_grad=True)
    losses = function(cosine, nlse, torch.tensor([-1, 0, 1]), margins)
    losses.sum().backward()
    assert losses[:2].eq(0).all()
    assert cosine.grad[:2].eq(0).all()
    assert margins.grad[0] == 0
    assert margins.grad[1] != 0


def test_margins_changed_after_the_forward_pass_change_nothing():
    cosine, nlse, labels = problem()
    cosine.requires_grad_()
    for groups in (None, torch.tensor([0, 1, 1, 0, 1])):
        margins = torch.full((5 if groups is None else 2,), 0.4, dtype=torch.float64)
        (expected,) = torch.autograd.grad(
            margin_loss(cosine, nlse, labels, margins, groups).sum(), cosine
        )
        losses = margin_loss(cosine, nlse, labels, margins, groups)
        margins.fill_(3.0)
        torch.testing.assert_close(torch.autograd.grad(losses.sum(), cosine)[0], expected)


@pytest.mark.parametrize("function", [margin_loss, reference.margin_loss])
def test_a_nan_sample_does_not_reach_shared_gradients(function):
    cosine, nlse, labels = problem()
    cosine[4] = math.nan
    margins = torch.full((5,), 0.4, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(16.0, dtype=torch.float64, requires_grad=True)
    losses = function(cosine, nlse, labels, margins, scale=scale)
    assert losses.isnan().nonzero().flatten().tolist() == [4]
    losses.sum().backward()
    assert margins.grad.isfinite().all()
    assert scale.grad.isfinite()


@pytest.mark.parametrize("name", ["cosine", "margins"])
def test_a_penalty_on_the_gradient_is_refused(name):
    """Even with a constant upstream, where nothing but the saved derivatives carries the graph."""
    cosine, nlse, labels = problem()
    margins = torch.full((5,), 0.4, dtype=torch.float64)
    leaf = (cosine if name == "cosine" else margins).requires_grad_()
    losses = margin_loss(cosine, nlse, labels, margins)
    (gradient,) = torch.autograd.grad(losses.sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="no double backward"):
        (losses.sum() + gradient.square().sum()).backward()


def test_a_second_backward_is_equal_and_a_double_backward_raises():
    cosine, nlse, labels = problem()
    cosine.requires_grad_()
    losses = margin_loss(cosine, nlse, labels, 0.5)
    (first,) = torch.autograd.grad(losses.sum(), cosine, retain_graph=True)
    (second,) = torch.autograd.grad(losses.sum(), cosine, create_graph=True)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    upstream = torch.ones_like(losses, requires_grad=True)
    (third,) = torch.autograd.grad(
        margin_loss(cosine, nlse, labels, 0.5), cosine, upstream, create_graph=True
    )
    with pytest.raises(RuntimeError, match="no double backward"):
        third.sum().backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "arcface"}, "kind: expected one of 'arc', 'cos', .*, got 'arcface'"),
        ({"extension": "hard"}, "extension: expected one of 'linear', .*, got 'hard'"),
        ({"margin_grad": "none"}, "margin_grad: expected one of 'exact', .*, got 'none'"),
        ({"margins": None}, "margins: expected a number"),
        ({"margins": torch.zeros(3, 2)}, "margins: expected one number a row with kind 'arc'"),
        ({"kind": "combined"}, "margins: expected a trailing dimension of 3"),
        pytest.param(
            {"margins": torch.zeros(2)},
            "labels: expected -1 to 1, got 4 at position 1",
            marks=pytest.mark.cpu_only,
        ),
        ({"groups": torch.zeros(5, dtype=torch.int64)}, "margins: expected one row a group"),
        pytest.param(
            {"margins": torch.zeros(2), "groups": torch.tensor([0, 1, 2, 0, 0])},
            "groups: expected 0 to 1, got 2 at position 2",
            marks=pytest.mark.cpu_only,
        ),
        ({"sample_margins": torch.zeros(2)}, "sample_margins: expected margins=None"),
        ({"margins": None, "sample_margins": torch.zeros(3)}, "sample_margins: expected"),
        ({"scale": torch.ones(2)}, "scale: expected one number"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"margins": 0.5}
    for function in (margin_loss, reference.margin_loss):
        with pytest.raises(ValueError, match=message):
            function(torch.zeros(2), torch.zeros(2), torch.tensor([0, 4]), **(good | arguments))


@pytest.mark.parametrize(
    ("table", "labels", "message"),
    [
        ({"margins": 0.5}, [0, -2], "labels: expected -1 to .*, got -2 at position 1"),
        ({"margins": torch.zeros(2)}, [2, 0], "labels: expected -1 to 1, got 2 at position 0"),
        (
            {"margins": torch.zeros(2), "groups": torch.tensor([0, 2, 1])},
            [0, 0],
            "groups: expected 0 to 1, got 2 at position 1",
        ),
        (
            {"margins": None, "sample_margins": torch.zeros(2)},
            [0, -3],
            "labels: expected -1 to .*, got -3 at position 1",
        ),
    ],
)
def test_validate_names_what_is_out_of_range(table, labels, message):
    labels = torch.tensor(labels)
    with pytest.raises(ValueError, match=message):
        margin_loss(torch.zeros(2), torch.zeros(2), labels, validate=True, **table)


def test_sequences_and_arrays_are_read_like_tensors():
    cosine, nlse, labels = problem(classes=3)
    expected = margin_loss(cosine, nlse, labels, torch.tensor([0.3, 0.4, 0.5], dtype=torch.float64))
    torch.testing.assert_close(margin_loss(cosine, nlse, labels, [0.3, 0.4, 0.5]), expected)
    array = torch.tensor([0.3, 0.4, 0.5], dtype=torch.float64).cpu().numpy()
    torch.testing.assert_close(margin_loss(cosine, nlse, labels, array), expected)
    triple = margin_loss(cosine, nlse, labels, (1.0, 0.3, 0.2), kind="combined")
    one = torch.tensor([[1.0, 0.3, 0.2]], dtype=torch.float64).expand(3, 3)
    torch.testing.assert_close(triple, margin_loss(cosine, nlse, labels, one))


@pytest.mark.parametrize("columns", [1, 3])
def test_opcheck(columns):
    cosine, nlse, labels = problem()
    margins = torch.rand(5, 3) if columns == 3 else torch.rand(5)
    kind = 3 if columns == 3 else 0
    leaves = [cosine.float(), nlse.float(), margins, torch.tensor(8.0)]
    target, nlse, margins, scale = (x.requires_grad_() for x in leaves)
    arguments = (target, nlse, labels, margins, None, scale, 1, kind, 0, False)
    torch.library.opcheck(torch.ops.fairloss.margin_loss, arguments)
    _, derivatives, rows = torch.ops.fairloss.margin_loss(*arguments)
    torch.library.opcheck(
        torch.ops.fairloss.margin_loss_backward, (torch.ones(12), derivatives.detach(), rows, 5)
    )
