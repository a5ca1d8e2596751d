"""Properties of every head, whatever its formula."""

from __future__ import annotations

import copy
import io
import math
import re
from pathlib import Path

import pytest
import torch
from head_cases import CASES, SEED
from oracles import cosines, worst

from fairloss import heads
from fairloss_ext import class_statistics

EVERY = pytest.mark.parametrize("name", list(CASES))
DENSE = [n for n in CASES if issubclass(heads.HEADS[n.split()[0]], heads.DenseHead)]
CLASSES, DIM, BATCH = 7, 8, 24


def make(name, classes=CLASSES, dtype=torch.float32):
    head = CASES[name].make(classes, DIM).to(dtype)
    with torch.no_grad():
        head.weight.normal_(0, 0.5)
        if getattr(head, "bias", torch.ones(())).dim():
            head.bias.normal_()
    return head


def batch(head):
    """Embeddings of norm 5 to 150 around, beside and opposite their class weight."""
    labels = torch.arange(BATCH) % head.num_classes
    away = torch.linspace(-1.2, 1.2, BATCH)[:, None]
    near = torch.nn.functional.normalize(head.weight.detach()[labels])
    rows = torch.nn.functional.normalize(near * away + 0.5 * torch.randn(BATCH, DIM))
    length = torch.linspace(5, 150, BATCH)[torch.randperm(BATCH), None]
    return (rows * length).to(head.weight.dtype), labels


def run(head, embeddings, labels, weights=None):
    torch.manual_seed(SEED)
    return head(embeddings, labels, weights)


def test_every_head_has_a_case():
    assert {name.split()[0] for name in CASES} == set(heads.HEADS)


def test_the_documentation_has_every_loss_and_its_example_runs():
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\| ([a-z ]+) \|", page, re.M))
    bases = {
        "cosine": heads.CosineHead,
        "hard negative": heads.HardNegativeHead,
        "dense": heads.DenseHead,
        "regularizer": heads.SampleLoss,
    }
    assert {name for name, base in rows.items() if base != "regularizer"} == set(heads.HEADS)
    for name, base in rows.items():
        loss = getattr(heads, name)
        assert issubclass(loss, bases[base])
        assert issubclass(loss, heads.Head) != (base == "regularizer")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["loss"].isfinite()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in CASES] + [(name, torch.float64) for name in DENSE],
)
def test_value_and_gradients_are_the_formula_s(name, dtype):
    head = make(name, dtype=dtype)
    embeddings, labels = batch(head)
    embeddings.requires_grad_()
    weights = torch.rand(BATCH, dtype=dtype)
    parameters = [embeddings, *head.parameters()]
    exact = copy.deepcopy(head).double()
    x = embeddings.detach().double().requires_grad_()
    expected = CASES[name].losses(exact, x, exact.weight, labels)
    exact_gradients = torch.autograd.grad((weights * expected).sum(), [x, *exact.parameters()])
    head.reduction = "none"
    losses = run(copy.deepcopy(head), embeddings, labels)
    head.reduction = "sum"
    gradients = torch.autograd.grad(run(head, embeddings, labels, weights), parameters)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    assert worst(losses, expected) < tolerance
    for ours, theirs in zip(gradients, exact_gradients, strict=True):
        assert worst(ours, theirs) < tolerance * 10


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].monotone])
def test_the_loss_grows_with_the_target_s_angle(name):
    head = CASES[name].make(2, 3).eval()
    head.weight.data = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    theta = torch.linspace(0.001, math.pi - 0.001, 500)
    points = torch.stack([theta.cos(), theta.sin(), 0 * theta], dim=1)
    head.reduction = "none"
    losses = head(points, torch.zeros(500, dtype=torch.int64)).detach()
    assert (losses.diff() >= -1e-5 * losses.abs().max()).all()
    assert losses[-1] > losses[0]


@EVERY
@pytest.mark.parametrize("autocast", [False, True])
def test_thirty_steps_lower_the_loss(name, autocast):
    head = CASES[name].make(8, 16)
    model = torch.nn.Linear(16, 16)
    labels = torch.arange(64) % 8
    points = torch.randn(8, 16)[labels] + 0.1 * torch.randn(64, 16)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.02)
    losses = []
    for _ in range(31):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = head(model(points), labels)
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in parameters)
        optimizer.step()
        losses.append(loss.item())
    assert math.isfinite(losses[-1])
    assert losses[-1] < 0.95 * losses[0]


@EVERY
def test_ignored_samples_have_no_effect(name):
    head = make(name)
    if isinstance(head, heads.ElasticFace):
        head.sigma = 0.0  # fewer samples draw other margins
    embeddings, labels = batch(head)
    labeled = torch.arange(BATCH) % 3 > 0
    some = labels.masked_fill(~labeled, -1)
    embeddings.requires_grad_()
    head.reduction = "none"
    both = [copy.deepcopy(head) for _ in range(2)]
    losses = run(both[0], embeddings, some)
    torch.testing.assert_close(losses[labeled], run(both[1], embeddings[labeled], labels[labeled]))
    assert losses[~labeled].eq(0).all()
    (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
    assert gradient[~labeled].eq(0).all()
    head.reduction = "mean"
    torch.testing.assert_close(run(head, embeddings, some), losses.sum() / labeled.sum())


@EVERY
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_embedding_does_not_change_later_batches(name, value):
    head = make(name)
    embeddings, labels = batch(head)
    bad = embeddings.clone()
    bad[3, 1] = value
    run(head, bad, labels)
    assert run(head, embeddings, labels).isfinite()
    assert all(tensor.isfinite().all() for tensor in tensors(head))


@EVERY
@pytest.mark.parametrize("size", [0, 3])
def test_an_empty_batch_and_one_of_ignored_samples_have_loss_0(name, size):
    head = make(name)
    embeddings = torch.randn(size, DIM, requires_grad=True)
    loss = head(embeddings, torch.full((size,), -1))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or p.grad.eq(0).all() for p in (embeddings, *head.parameters()))
    assert all(value.isfinite().all() for value in tensors(head))


@EVERY
def test_two_classes_and_int32_labels(name):
    head = make(name, classes=2)
    embeddings, labels = batch(head)
    embeddings.requires_grad_()
    for _ in range(2):
        loss = run(head, embeddings, labels.int())
        loss.backward()
        assert loss.isfinite()
        assert embeddings.grad.isfinite().all()
    assert head.logits(embeddings).shape == (BATCH, 2)


@EVERY
def test_a_restored_head_continues_as_the_first_would_have(name):
    head = make(name)
    embeddings, labels = batch(head)
    statistics = class_statistics(embeddings, labels, CLASSES)
    for _ in range(2):
        run(head, embeddings, labels)
        head.end_of_epoch(statistics)
    buffer = io.BytesIO()
    torch.save(head.state_dict(), buffer)
    buffer.seek(0)
    other = make(name)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for one in (head, other):
        one.end_of_epoch(statistics)
    assert torch.equal(run(head, embeddings, labels), run(other, embeddings, labels))
    assert all(torch.equal(a, b) for a, b in zip(tensors(head), tensors(other), strict=True))


@EVERY
def test_logits_have_no_margin_and_full_precision_under_autocast(name):
    head = make(name)
    embeddings, _ = batch(head)
    logits = head.logits(embeddings)
    nearest = cosines(embeddings, head.weight).argmax(dim=1)
    if name.split()[0] not in ("Softmax", "L2Softmax", "LSoftmax", "SoftMargin", "VirtualSoftmax"):
        assert torch.equal(logits.argmax(dim=1), nearest)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head.logits(embeddings), logits)
    assert head.logits(embeddings.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", [name for name in CASES if name not in DENSE])
def test_every_cosine_head_samples_classes(name):
    sampled = CASES[name].make(300, DIM, sample_rate=0.1)
    embeddings = torch.randn(20, DIM, requires_grad=True)
    sampled(embeddings, torch.arange(20)).backward()
    gradient = sampled.weight.grad
    assert gradient.is_sparse
    assert 20 < len(gradient._indices()[0]) < 120
    assert gradient._values().isfinite().all()


def tensors(head):
    return [v for v in head.state_dict().values() if isinstance(v, torch.Tensor)]
