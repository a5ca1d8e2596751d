"""Regularizers: formulas, state and ignored samples."""

from __future__ import annotations

import copy
import io

import oracles_heads as papers
import pytest
import torch
from oracles import worst

from fairloss.heads import CenterLoss, RingLoss, Triplet, UniformFace

MAKE = {
    "CenterLoss": lambda: CenterLoss(5, 6),
    "UniformFace": lambda: UniformFace(5, 6),
    "RingLoss": RingLoss,
    "Triplet": Triplet,
}
EVERY = pytest.mark.parametrize("name", list(MAKE))


def batch(size=12):
    return torch.randn(size, 6), torch.arange(size) % 4


def updated(centers, x, y):
    """The centers after one batch, class by class."""
    rows = []
    for j, center in enumerate(centers):
        members = [x[i] for i in range(len(y)) if y[i] == j]
        rows.append(
            center - 0.5 * sum((center - row for row in members), 0 * center) / (1 + len(members))
        )
    return torch.stack(rows)


def center_loss(centers, x, y):
    return 0.003 / 2 * (x - centers[y]).square().sum(dim=1)


def uniform_loss(centers, x, y):
    c = updated(centers, x, y)
    pairs = [(c[i] - c[j]).norm() for i in range(5) for j in range(5) if i != j]
    return (sum(1 / d for d in pairs) / (5 * 4)).expand(len(y))


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("CenterLoss", lambda loss, x, y: center_loss(loss.centers, x, y)),
        ("UniformFace", lambda loss, x, y: uniform_loss(loss.centers, x, y)),
        ("RingLoss", lambda loss, x, y: 0.005 * (papers.norm(x) - loss.radius) ** 2),
        ("Triplet", lambda loss, x, y: papers.triplet(x, y)),
    ],
)
def test_value_and_gradient_are_the_formula_s(name, formula):
    loss = MAKE[name]()
    for _ in range(3):
        x, y = batch()
        if name == "RingLoss":
            loss.radius.data.fill_(2.0)
        x.requires_grad_()
        exact = x.detach().double().requires_grad_()
        expected = formula(copy.deepcopy(loss).double(), exact, y)
        loss.reduction = "none"
        weights = torch.rand(12)
        losses = loss(x, y, weights)
        assert worst(losses, weights * expected) < 1e-5
        (ours,) = torch.autograd.grad(losses.sum(), x)
        (theirs,) = torch.autograd.grad((weights * expected).sum(), exact)
        assert worst(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", ["CenterLoss", "UniformFace"])
def test_centers_are_updated_in_training_only(name):
    loss = MAKE[name]()
    x, y = batch()
    y[0] = -1
    expected = updated(loss.centers.clone(), x, y)
    loss(x, y)
    torch.testing.assert_close(loss.centers, expected)
    loss.eval()(x, y)
    torch.testing.assert_close(loss.centers, expected)


def test_the_ring_starts_at_the_mean_norm_and_learns():
    loss = RingLoss()
    x, y = batch()
    y[:6] = -1
    loss(x, y).backward()
    assert loss.radius.item() == pytest.approx(x[6:].norm(dim=1).mean().item())
    assert loss.radius.grad is not None


@EVERY
def test_ignored_samples_and_empty_batches_have_no_effect(name):
    x, y = batch()
    y[::3] = -1
    labeled = y >= 0
    loss = MAKE[name]()
    loss.reduction = "none"
    some = copy.deepcopy(loss)(x, y)
    assert some[~labeled].eq(0).all()
    torch.testing.assert_close(some[labeled], copy.deepcopy(loss)(x[labeled], y[labeled]))
    loss.reduction = "mean"
    torch.testing.assert_close(loss(x, y), some.sum() / labeled.sum())
    state = copy.deepcopy(loss.state_dict())
    x.requires_grad_()
    zero = loss(x, torch.full_like(y, -1)) + loss(x[:0], y[:0])
    zero.backward()
    assert zero.item() == 0
    assert x.grad is None or x.grad.eq(0).all()
    assert all(torch.equal(a, state[k]) for k, a in loss.state_dict().items())


@EVERY
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_embedding_does_not_change_later_batches(name, value):
    loss = MAKE[name]()
    x, y = batch()
    bad = x.clone()
    bad[3, 1] = value
    loss(bad, y)
    assert loss(x, y).isfinite()
    assert all(value.isfinite().all() for value in loss.state_dict().values())


@EVERY
@pytest.mark.parametrize("autocast", [False, True])
def test_thirty_steps_lower_the_loss(name, autocast):
    loss = MAKE[name]()
    model = torch.nn.Linear(6, 6)
    x, y = batch(40)
    x = 0.5 * torch.randn(4, 6)[y] + x
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss(model(x), y)
        value.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]


@EVERY
def test_checkpoint_round_trip(name):
    loss, other = MAKE[name](), MAKE[name]()
    x, y = batch()
    loss(x, y)
    buffer = io.BytesIO()
    torch.save(loss.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(loss(x, y), other(x, y))
