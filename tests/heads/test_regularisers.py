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


def moved(centers, x, y):
    """The centres after one batch, class by class."""
    rows = []
    for j, center in enumerate(centers):
        own = [x[i] for i in range(len(y)) if y[i] == j]
        rows.append(center - 0.5 * sum((center - row for row in own), 0 * center) / (1 + len(own)))
    return torch.stack(rows)


def center_loss(centers, x, y):
    return 0.003 / 2 * (x - centers[y]).square().sum(dim=1)


def uniform_loss(centers, x, y):
    c = moved(centers, x, y)
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
def test_centres_move_in_training_only(name):
    loss = MAKE[name]()
    x, y = batch()
    y[0] = -1
    expected = moved(loss.centers.clone(), x, y)
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
def test_ignored_samples_and_empty_batches_count_for_nothing(name):
    x, y = batch()
    y[::3] = -1
    kept = y >= 0
    loss = MAKE[name]()
    loss.reduction = "none"
    some = copy.deepcopy(loss)(x, y)
    assert some[~kept].eq(0).all()
    torch.testing.assert_close(some[kept], copy.deepcopy(loss)(x[kept], y[kept]))
    loss.reduction = "mean"
    torch.testing.assert_close(loss(x, y), some.sum() / kept.sum())
    state = copy.deepcopy(loss.state_dict())
    x.requires_grad_()
    nothing = loss(x, torch.full_like(y, -1)) + loss(x[:0], y[:0])
    nothing.backward()
    assert nothing.item() == 0
    assert x.grad is None or x.grad.eq(0).all()
    assert all(torch.equal(a, state[k]) for k, a in loss.state_dict().items())


@EVERY
@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_a_spoilt_embedding_leaves_no_trace_in_later_batches(name, spoilt):
    loss = MAKE[name]()
    x, y = batch()
    bad = x.clone()
    bad[3, 1] = spoilt
    loss(bad, y)
    assert loss(x, y).isfinite()
    assert all(value.isfinite().all() for value in loss.state_dict().values())


@EVERY
def test_arguments_of_another_shape_or_range_are_named(name):
    loss = MAKE[name]()
    x, y = batch()
    with pytest.raises(ValueError, match="labels: expected dtype int32 or int64, got torch.float"):
        loss(x, y.float())
    with pytest.raises(ValueError, match=r"labels: expected shape \(12,\), got \(1,\)"):
        loss(x, y[:1])
    with pytest.raises(ValueError, match="sample_weights: got shape"):
        loss(x, y, torch.ones(12, 1))
    if hasattr(loss, "centers"):
        with pytest.raises(ValueError, match="labels: got 5, allowed are -1 to 4"):
            loss(x, y + 2)


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
