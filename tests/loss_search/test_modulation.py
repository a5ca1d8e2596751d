from __future__ import annotations

import math
from decimal import Decimal, getcontext
from functools import partial

import numpy as np
import pytest
import torch
from head_cases import CASES
from oracles import cosines, worst
from oracles_heads import replace, target_of

from fairloss import heads
from fairloss.loss_search import (
    factor,
    factor_of_margin,
    factor_of_modulation,
    log_modulated,
    log_odds_shift,
    margin_of_factor,
    modulation,
)

B, C, D = 40, 9, 8
# Each is -log of a softmax in which the target's logit alone is another.
HAVE_A = ["FairLoss", "FairLoss cos", "ArcFace", "CosFace", "NormFace", "Combined", "KappaFace"]
HAVE_A += ["PerClass", "PerClass arc"]
HAVE_A += ["NormFace learned", "SphereFaceR", "SphereFaceR exact", "AdaCos", "AdaptiveFace", "LDAM"]
HAVE_A += ["ElasticFace", "ElasticFace cos", "ElasticFace plus", "AdaFace", "MagFace"]
HAVE_A += ["SearchSoftmax", "SearchSoftmax local", "LSoftmax", "LSoftmax hard", "SphereFace"]
HAVE_A += ["SphereFace late", "Softmax", "L2Softmax", "L2Softmax learned", "SoftMargin"]
HAVE_NONE = ["MVSoftmax", "CurricularFace", "AMLFS", "VirtualSoftmax", "SphereFace2", "UniFace"]
HAVE_NONE += ["NPTLoss"]


def batch(head):
    labels = torch.arange(B) % C
    near = torch.nn.functional.normalize(head.weight.detach()[labels])
    away = torch.linspace(-1.2, 1.2, B)[:, None]
    x = near * away + 0.5 * torch.randn(B, D)
    return 20 * torch.nn.functional.normalize(x), labels


def plain(head, x, y):
    """Target's cosine, logits without margin, and the target's log-odds, in float64."""
    with torch.no_grad():
        logits = head.logits(x.double()).double()
    rest = replace(logits, y, torch.full((B,), -math.inf, dtype=torch.float64))
    return target_of(cosines(x, head.weight), y), target_of(logits, y) - torch.logsumexp(
        rest, dim=1
    )


def arguments(name, head, x, y, cosine, log_odds):
    """Return the other arguments of `log_odds_shift`, as each loss defines them."""
    length = x.double().norm(dim=1)
    if isinstance(head, heads.LSoftmax) and name.startswith("L"):
        return {"length": length * head.weight.detach().double().norm(dim=1)[y]}
    if isinstance(head, heads.SphereFace):
        return {"length": length}
    if name.split()[0] in ("FairLoss", "AdaptiveFace", "LDAM", "KappaFace", "PerClass"):
        return {"margins": head.margins[y]}
    if name.startswith(("ElasticFace", "AdaFace", "MagFace")):
        torch.manual_seed(11)
        return {"margins": head.sample_margins(x, cosine.float(), y)}
    return {"log_odds": log_odds}


@pytest.mark.parametrize("name", HAVE_A)
def test_h_of_a_round_trips_and_is_the_head_s_own_loss(name):
    head = CASES[name].make(C, D)
    head.weight.data.normal_(0, 0.5)
    head.reduction = "none"
    head.regularizer = 0.0  # of MagFace and AdaptiveFace: no part of the softmax
    if name in ("AdaFace", "AdaCos"):
        head.eval()  # averages and scale stay
    x, y = batch(head)
    cosine, z = plain(head, x, y)
    given = arguments(name, head, x, y, cosine, z)
    torch.manual_seed(11)
    losses = head(x, y).detach()
    if isinstance(head, heads.LSoftmax):
        assert head.ease() < 1000  # the schedule's value after this step
    a = -torch.expm1(log_odds_shift(head, cosine, **given))
    assert (a <= 1e-9).all()
    h = modulation(a, z)
    assert ((h > 0) & (h <= 1 + 1e-9)).all()
    assert worst(-log_modulated(a, z), losses) < 2e-4
    p = torch.sigmoid(z)
    usual = (1 - p) > 1e-3  # the printed formulas, where they lose nothing
    torch.testing.assert_close((1 / (a * p + 1 - a))[usual], h[usual], rtol=1e-9, atol=0)
    torch.testing.assert_close(factor_of_modulation(h, z)[usual], a[usual], rtol=1e-6, atol=1e-9)
    given.pop("log_odds", None)
    rest = target_of(head.logits(x.double()).detach().double(), y) - z
    torch.testing.assert_close(factor(head, z, rest, **given), a, rtol=1e-6, atol=1e-6)


def test_every_head_has_an_a_or_a_reason():
    assert {name.split()[0] for name in HAVE_A + HAVE_NONE} == set(heads.HEADS)


@pytest.mark.parametrize("head", [heads.FairLoss, heads.KappaFace, heads.AdaptiveFace])
def test_margins_of_classes_are_not_taken_for_those_of_samples(head):
    name, cosine = head.__name__, torch.zeros(C)  # as many samples as classes
    with pytest.raises(ValueError, match=f"margins: expected .*, as {name} has one for each class"):
        log_odds_shift(head(C, D), cosine)
    with pytest.raises(ValueError, match=f"margins: expected .*, as {name} has one for each class"):
        factor(head(C, D), cosine, 0.0)
    with pytest.raises(ValueError, match=r"margins: expected shape \(\) or \(4,\), got \(9,\)"):
        log_odds_shift(head(C, D), torch.zeros(4), margins=head(C, D).margins)


@pytest.mark.parametrize("function", [log_odds_shift, partial(factor, negative_logsumexp=0.0)])
def test_arguments_of_a_must_be_given(function):
    with pytest.raises(ValueError, match="margins: expected .*, as LDAM has one for each class"):
        function(heads.LDAM(3, D, counts=[1, 2, 3]), torch.zeros(3))
    for name in ("MagFace", "AdaFace"):
        with pytest.raises(ValueError, match=f"margins: expected .*, as {name} has one for each"):
            function(heads.HEADS[name](C, D), torch.zeros(4))
    for name in ("LSoftmax", "SphereFace"):
        with pytest.raises(ValueError, match=f"length: .*, as {name} normalizes no feature"):
            function(heads.HEADS[name](C, D), torch.zeros(4))


def test_factor_of_heads_without_cosines_is_the_same_everywhere():
    z = torch.linspace(-5, 5, 11)
    a = factor(heads.SoftMargin(C, D), z, 3.0)
    assert a.tolist() == pytest.approx([1 - math.exp(0.5)] * 11)
    for head in (heads.Softmax, heads.L2Softmax):
        assert factor(head(C, D), z, 3.0).tolist() == [0] * 11


@pytest.mark.parametrize("scale", [16.0, 32.0, 64.0])
@pytest.mark.parametrize("margin", [0.05, 0.35, 0.5])
def test_a_constant_a_is_cosface_to_rounding(scale, margin):
    a = float(factor_of_margin(margin, scale))
    assert float(margin_of_factor(a, scale)) == pytest.approx(margin, rel=1e-12)
    ours = heads.SearchSoftmax(C, D, a, scale=scale, reduction="none")
    cosface = heads.CosFace(C, D, margin, scale=scale, reduction="none")
    cosface.weight.data = ours.weight.data.normal_(0, 0.5)
    x, y = batch(ours)
    gradients = []
    for head in (ours, cosface):
        leaf = x.clone().requires_grad_()
        losses = head(leaf, y)
        gradients.append((losses, *torch.autograd.grad(losses.sum(), [leaf, head.weight])))
    for one, other in zip(*gradients, strict=True):
        assert worst(one, other) < 1e-6
    assert ours.class_margins().item() == pytest.approx(margin, rel=1e-6)


def test_table_3_of_the_paper_in_margins():
    a = torch.tensor([-1.0, -10, -100, -1e3, -1e4])
    margins = margin_of_factor(a, 32)
    np.testing.assert_allclose(margins, [0.022, 0.075, 0.144, 0.216, 0.288], atol=5e-4)
    assert float(factor_of_margin(0.35, 32)) == pytest.approx(-73129, abs=1)


@pytest.mark.parametrize("p", [1e-30, 1e-12, 0.3, 1 - 1e-12])
@pytest.mark.parametrize("a", [-1.0, -1e4, -5e9])
def test_the_smallest_probability_keeps_its_digits(p, a):
    """A two-class head at s = 64: the loss of its float32, and p_m of our float64."""
    getcontext().prec = 80
    z = float((Decimal(p) / (1 - Decimal(p))).ln())
    exact_p = 1 / (1 + (-Decimal(z)).exp())
    exact = exact_p / (Decimal(a) * exact_p + 1 - Decimal(a))
    ours = log_modulated(a, torch.tensor([z], dtype=torch.float64))
    assert float(ours) == pytest.approx(float(exact.ln()), rel=1e-12)
    assert math.exp(ours) == pytest.approx(float(exact), rel=1e-12)
    h = modulation(a, torch.tensor(z, dtype=torch.float64))
    assert float(h) == pytest.approx(float(exact / exact_p), rel=1e-12)
    cosine = torch.tensor([z / 64]).float()
    head = heads.SearchSoftmax(2, 2, a, reduction="none")
    loss = head.target_losses(
        torch.zeros(1, 2), cosine, torch.zeros(1), torch.zeros(1).long(), head.margins
    )
    exact_z = 64 * Decimal(float(cosine))
    exact_a = Decimal(float(head.a))
    expected = (1 + (1 - exact_a) * (-exact_z).exp()).ln()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_of_p_depends_on_the_others_for_an_angle_and_not_for_cosface():
    z = torch.linspace(-20, 20, 41).double()
    cosface = factor(heads.CosFace(C, D, scale=32), z, 3.0)
    inside = ~cosface.isnan()
    assert torch.equal(inside, (z + 3).abs() <= 32)
    torch.testing.assert_close(cosface[inside], factor_of_margin(0.35, 32).expand(inside.sum()),
                               rtol=1e-5, atol=0)  # fmt: skip
    arc = [factor(heads.ArcFace(C, D, scale=32), z, others)[20] for others in (0.0, 10.0)]
    cosine = np.array([0.0, 10 / 32])
    expected = 1 - np.exp(32 * (cosine - np.cos(np.arccos(cosine) + 0.5)))
    np.testing.assert_allclose(arc, expected, rtol=1e-6)
    local = heads.SearchSoftmax(C, D, [-4.0, -2.0])
    assert factor(local, torch.tensor([-1.0, 1.0]), 0.0).tolist() == pytest.approx([-4, -2])


@pytest.mark.parametrize("name", HAVE_NONE)
def test_losses_without_an_a_say_so(name):
    for function in (log_odds_shift, partial(factor, negative_logsumexp=0.0)):
        with pytest.raises(ValueError, match=f"head: expected a loss with an a, got {name}; it "):
            function(heads.HEADS[name](C, D), torch.zeros(3))


def test_local_space_takes_the_a_of_its_bin():
    head = heads.SearchSoftmax(C, D, [-1.0, -2.0, -3.0, -4.0])
    p = torch.tensor([1e-30, 0.1, 0.2499, 0.2501, 0.6, 0.76, 1.0 - 1e-7])
    odds = torch.log(p) - torch.log1p(-p)
    assert head.shift(odds).tolist() == pytest.approx(np.log([2, 2, 2, 3, 4, 5, 5]).tolist())
    assert head.shift(torch.tensor([math.inf])).item() == pytest.approx(math.log(5))
    assert head.class_margins().isnan()


def test_am_lfs_keeps_a_gradient_where_tau_would_be_negative():
    head = heads.AMLFS(2, 2, tau=[[1.0, -0.4], [1.0, 0.0]], scale=64.0, reduction="none")
    z = torch.tensor([-120.0, -5.0, 0.5], dtype=torch.float64, requires_grad=True)
    log_tau = head.log_tau(z)
    log_tau.sum().backward()
    assert log_tau[0].item() == pytest.approx(-120 + math.log(1e-6))
    assert z.grad[0].item() == pytest.approx(1)
    identity = heads.AMLFS(2, 2).log_tau(z)
    assert identity[0].item() == pytest.approx(-120, rel=1e-15)
    offset = heads.AMLFS(2, 2, tau=[[1.0, 0.25]]).log_tau(torch.tensor([-600.0]).double())
    assert offset.item() == pytest.approx(math.log(0.25))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(heads.SearchSoftmax, a=0.5), "a: expected a number of at most 0, .*got 0.5"),
        (partial(heads.SearchSoftmax, a=[]), r"a: expected .*got \[\]"),
        (partial(heads.SearchSoftmax, a=[-math.inf]), r"a: expected .*got \[-inf\]"),
        (partial(heads.AMLFS, t=[1.0, 0.0]), r"t: expected finite rows .*got \[1.0, 0.0\]"),
        (partial(heads.AMLFS, tau=[[math.nan, 0.0]]), "tau: expected .*got"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(3, 4)
