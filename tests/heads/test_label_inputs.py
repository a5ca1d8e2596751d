"""Labels, weights and embeddings in the forms that other libraries give them."""

from __future__ import annotations

import copy
import re

import numpy as np
import oracles_heads as papers
import pytest
import torch
from head_cases import CASES, SEED
from oracles import cosines, margin_softmax_losses, worst
from torch import nn

from fairloss import heads
from fairloss_ext import class_statistics, cosine_partition, margin_softmax_loss

CLASSES, DIM, BATCH = 7, 8, 24


def near(weight, labels, length=(5, 150)):
    """Embeddings beside their class weight, of all lengths."""
    rows = nn.functional.normalize(weight.detach()[labels.long().clamp(min=0)])
    rows = nn.functional.normalize(rows + 0.4 * torch.randn(rows.shape))
    return rows * torch.linspace(*length, len(rows))[torch.randperm(len(rows)), None]


def margins(value, size=BATCH):
    return torch.full((size,), value, dtype=torch.float64)


def close(ours, right):
    torch.testing.assert_close(ours.double(), right.double(), rtol=1e-4, atol=1e-4)


def test_the_largest_uint8_is_a_class_and_not_an_ignored_sample():
    head = heads.CosFace(300, DIM, reduction="none")
    labels = torch.tensor([0, 7, 254, 255, 255, 128], dtype=torch.uint8)
    embeddings = torch.randn(6, DIM)
    right = margin_softmax_losses(
        embeddings, head.weight, labels.long(), margins(0.35, 6), kind="cos", scale=64.0
    )
    close(head(embeddings, labels), right)
    with pytest.raises(ValueError, match="labels: expected .*got .*255"):
        heads.CosFace(255, DIM)(embeddings, labels)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.uint8, torch.uint16])
def test_ops_take_labels_of_any_integer_dtype(dtype):
    embeddings, weight = torch.randn(BATCH, DIM), torch.randn(CLASSES, DIM)
    labels = torch.arange(BATCH) % CLASSES
    if dtype.is_signed:
        labels[::5] = -1
    given = labels.to(dtype)
    losses = margin_softmax_loss(embeddings, weight, given, 0.3, scale=16.0, reduction="none")
    right = margin_softmax_losses(embeddings, weight, labels, margins(0.3), kind="arc", scale=16.0)
    close(losses, right)
    target, _ = cosine_partition(embeddings, weight, given)
    labeled = labels >= 0
    rows, classes = torch.arange(BATCH)[labeled], labels[labeled]
    close(target[labeled], cosines(embeddings, weight)[rows, classes])
    count = class_statistics(embeddings[labeled], given[labeled], CLASSES).count
    assert torch.equal(count.long(), torch.bincount(classes, minlength=CLASSES))


@pytest.mark.parametrize(
    "make",
    [
        lambda: heads.ArcFace(CLASSES, DIM, reduction="none"),
        lambda: heads.LSoftmax(CLASSES, DIM, reduction="none"),
        lambda: heads.CenterLoss(CLASSES, DIM, reduction="none"),
    ],
    ids=["cosine", "dense", "regularizer"],
)
def test_a_column_of_labels_is_a_list_of_labels(make):
    loss, right = (make() for _ in range(2))
    right.load_state_dict(loss.state_dict())
    embeddings, labels = torch.randn(BATCH, DIM), torch.arange(BATCH) % CLASSES
    labels[3] = -1
    for _ in range(2):
        losses = loss(embeddings, labels[:, None].int())
        assert losses.shape == (BATCH,)
        torch.testing.assert_close(losses, right(embeddings, labels))


def test_adaface_ignores_what_torch_ignores():
    head = heads.AdaFace(CLASSES, DIM, momentum=0.5, ignore_index=-100)
    labels = torch.arange(BATCH) % CLASSES
    embeddings = near(head.weight, labels, (5, 60))
    labels[::3] = -100
    kept = labels >= 0
    loss = head(embeddings, labels)
    norms = embeddings[kept].double().norm(dim=1)
    close(head.norm_mean, (20 + norms.mean()) / 2)
    close(head.norm_std, (100 + norms.std()) / 2)
    alone = heads.AdaFace(CLASSES, DIM, momentum=0.5)
    alone.weight = head.weight
    torch.testing.assert_close(loss, alone(embeddings[kept], labels[kept]))


def test_a_dense_head_ignores_a_label_that_only_uint8_has():
    head = heads.UniFace(CLASSES, DIM, ignore_index=255)
    labels = (torch.arange(BATCH) % CLASSES).to(torch.uint8)
    labels[::4] = 255
    embeddings = torch.randn(BATCH, DIM, requires_grad=True)
    kept = labels < 255
    loss = head(embeddings, labels)
    x, y = embeddings.detach()[kept].double(), labels[kept].long()
    right = papers.uniface(x, head.weight.detach().double(), y, head.bias.detach().double())
    close(loss.detach(), right.mean())
    loss.backward()
    assert embeddings.grad[~kept].eq(0).all()


WEIGHT_ALONE = ["FairLoss", "AdaFace", "CurricularFace", "LDAM", "AdaCos", "LSoftmax hard"]


def test_the_class_weights_of_another_library_are_enough_of_a_state():
    labels = torch.arange(BATCH) % CLASSES
    for name in WEIGHT_ALONE:
        weight = 0.5 * torch.randn(CLASSES, DIM)
        embeddings = near(weight, labels)
        head = CASES[name].make(CLASSES, DIM, reduction="none")
        before = {key: value.clone() for key, value in head.named_buffers()}
        head.load_state_dict({"weight": weight})
        assert torch.equal(head.weight, weight), name
        for key, value in head.named_buffers():
            assert torch.equal(value, before[key]), f"{name} {key}"
        right = CASES[name].losses(head, embeddings.double(), weight.double(), labels)
        assert worst(head(embeddings, labels), right) < 1e-4, name


def test_a_whole_model_with_the_class_weights_of_another_library_loads():
    model = nn.Sequential(nn.Linear(DIM, DIM), heads.ArcFace(CLASSES, DIM))
    state = {name: torch.randn_like(value) for name, value in model.named_parameters()}
    assert set(state) == {"0.weight", "0.bias", "1.weight"}
    model.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in model.named_parameters())
    assert model[1].margins == 0.5
    assert model[1].scale == 64
    with pytest.raises(RuntimeError, match="0.bias"):
        model.load_state_dict({name: value for name, value in state.items() if name != "0.bias"})


def test_fair_loss_starts_where_cosface_stopped():
    old, new = heads.CosFace(CLASSES, DIM), heads.FairLoss(CLASSES, DIM, kind="cos")
    labels = torch.arange(BATCH) % CLASSES
    embeddings = torch.randn(BATCH, DIM)
    old(embeddings, labels).backward()
    old.weight.data -= 0.01 * old.weight.grad
    new.warm_start(old)
    assert torch.equal(new.weight, old.weight)
    assert new.weight.data_ptr() != old.weight.data_ptr()
    right = margin_softmax_losses(
        embeddings, old.weight, labels, margins(0.35), kind="cos", scale=64.0
    )
    close(new(embeddings, labels), right.mean())
    with pytest.raises(ValueError, match="expected .*got"):
        new.warm_start(heads.CosFace(CLASSES + 1, DIM))


def test_adaface_starts_from_the_state_of_arcface():
    old = heads.ArcFace(CLASSES, DIM)
    head = heads.AdaFace(CLASSES, DIM, reduction="none")
    head.warm_start(old.state_dict())
    labels = torch.arange(BATCH) % CLASSES
    embeddings = near(old.weight, labels)
    assert torch.equal(head.weight, old.weight)
    assert head.norm_mean == 20
    right = papers.adaface(embeddings.double(), old.weight.double(), labels)
    close(head(embeddings, labels), right)


@pytest.mark.parametrize("column", [False, True], ids=["row", "column"])
@pytest.mark.parametrize("make", [heads.AdaFace, heads.MagFace], ids=["AdaFace", "MagFace"])
def test_unit_vectors_with_their_norms_are_the_embeddings(make, column):
    head = make(CLASSES, DIM)
    raw = copy.deepcopy(head)
    labels = torch.arange(BATCH) % CLASSES
    labels[5] = -1
    embeddings = near(head.weight, labels, (12, 100))
    ours, right = (embeddings.clone().requires_grad_() for _ in range(2))
    norms = ours.norm(dim=1, keepdim=True)
    unit = ours / norms
    loss = head(unit, labels, norms=norms if column else norms[:, 0])
    expected = raw(right, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss.backward()
    expected.backward()
    assert worst(ours.grad, right.grad) < 1e-3
    for value, other in zip(head.buffers(), raw.buffers(), strict=True):
        torch.testing.assert_close(value, other)


def test_float64_embeddings_have_the_loss_of_the_formula_on_every_cosine_head():
    labels = torch.arange(BATCH) % CLASSES
    wrong = {}
    for name, case in CASES.items():
        head = case.make(CLASSES, DIM, reduction="none")
        if not isinstance(head, heads.CosineHead):
            continue
        if isinstance(head, heads.ElasticFace):
            head.sigma = 0.0  # float64 draws other numbers
        head.weight.data.normal_(0, 0.5)
        embeddings = near(head.weight, labels).double().requires_grad_()
        exact = copy.deepcopy(head).double()
        x = embeddings.detach().requires_grad_()
        torch.manual_seed(SEED)
        right = case.losses(exact, x, exact.weight, labels)
        try:
            losses = head(embeddings, labels)
            (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
            (right_gradient,) = torch.autograd.grad(right.sum(), x)
            assert gradient.dtype == torch.float64
            assert worst(losses, right) < 1e-4
            assert worst(gradient, right_gradient) < 1e-3
        except Exception as error:
            wrong[name] = repr(error)
    assert not wrong


def test_numpy_labels_count_or_are_refused_for_what_they_are():
    head = heads.ArcFace(CLASSES, DIM)
    embeddings, labels = torch.randn(BATCH, DIM), torch.arange(BATCH) % CLASSES
    right = head(embeddings, labels)
    for given in (labels.numpy(), labels.numpy().astype(np.int16)):
        try:
            loss, message = head(embeddings, given), ""
        except ValueError as error:
            loss, message = right, str(error)
        torch.testing.assert_close(loss, right)
        assert not message or re.match("labels: expected .*got .*(ndarray|numpy)", message, re.I)
