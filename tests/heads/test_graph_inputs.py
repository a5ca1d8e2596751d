"""Losses compiled to one graph, or exported, have the values, gradients and state of eager ones."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from oracles import margin_softmax_losses
from torch._dynamo.testing import CompileCounterWithBackend

from fairloss import heads
from fairloss.agent import Policy
from fairloss_ext import class_statistics

CLASSES, DIM, BATCH = 10, 8, 16
COUNTS = [1 + 3 * k for k in range(CLASSES)]


def batch(seed, ignored=0):
    """A batch with `ignored` labels of -1."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = 5 * torch.randn(BATCH, DIM, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    labels[torch.randperm(BATCH, generator=generator)[:ignored]] = -1
    return embeddings, labels


def compiled(module, backend="aot_eager"):
    """The module as one graph, and the counter of the graphs made."""
    counter = CompileCounterWithBackend(backend)
    return torch.compile(module, backend=counter, fullgraph=True), counter


def assert_as_eager(loss, batches, *, weights=None, backend="aot_eager"):
    """One graph or two (a size or a state that changed), and everything as without it."""
    eager = copy.deepcopy(loss)
    call, counter = compiled(loss, backend)
    for embeddings, labels in batches:
        ours, right = (embeddings.clone().requires_grad_() for _ in range(2))
        value, expected = call(ours, labels, weights), eager(right, labels, weights)
        assert torch.isfinite(expected).all()
        torch.testing.assert_close(value, expected)
        value.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, right.grad)
    for (name, a), b in zip(loss.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(loss.named_buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)
    assert counter.frame_count <= 2
    return loss


def test_adaface_with_ignored_samples_follows_the_norms_of_the_others():
    head = heads.AdaFace(CLASSES, DIM, momentum=0.5)
    batches = [batch(1), batch(2, ignored=5), batch(3, ignored=BATCH - 1)]
    assert_as_eager(head, batches)
    mean, deviation = 20.0, 100.0
    for embeddings, labels in batches[:2]:  # one sample has no spread and changes nothing
        norms = embeddings[labels >= 0].double().norm(dim=1)
        mean, deviation = (mean + norms.mean()) / 2, (deviation + norms.std()) / 2
    torch.testing.assert_close(head.norm_mean.double(), mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(head.norm_std.double(), deviation, rtol=1e-5, atol=0)


def test_adacos_keeps_its_scale_where_every_sample_is_ignored():
    embeddings, labels = batch(1)
    head = heads.AdaCos(CLASSES, DIM)
    first = copy.deepcopy(head)
    first(embeddings, labels)
    assert_as_eager(head, [(embeddings, labels), batch(2, ignored=BATCH)])
    torch.testing.assert_close(head.scale, first.scale)


def test_curricularface_has_the_t_of_the_labeled_samples():
    head = heads.CurricularFace(CLASSES, DIM, momentum=0.5)
    batches = [batch(1, ignored=3), batch(2, ignored=9)]
    assert_as_eager(head, batches)
    t = 0.0
    for embeddings, labels in batches:
        x, y = embeddings[labels >= 0].double(), labels[labels >= 0]
        t = (t + torch.nn.functional.cosine_similarity(x, head.weight.double()[y]).mean()) / 2
    torch.testing.assert_close(head.t.double(), t.detach(), rtol=1e-4, atol=1e-6)


def test_sphereface_counts_its_steps_in_one_graph():
    head = heads.SphereFace(CLASSES, DIM, base=10.0, lowest=0.0)
    assert_as_eager(head, [batch(1), batch(2, ignored=4)])
    assert head.step == 2


def test_center_loss_leaves_out_what_is_ignored_or_not_finite():
    loss = heads.CenterLoss(CLASSES, DIM, reduction="none")
    embeddings, labels = batch(1, ignored=4)
    assert_as_eager(loss, [(embeddings, labels)])
    broken = embeddings.clone()
    broken[labels == labels.max(), 0] = torch.inf
    eager = copy.deepcopy(loss)
    call, _ = compiled(loss)
    call(broken, labels)
    eager(broken, labels)
    assert loss.centers.isfinite().all()
    torch.testing.assert_close(loss.centers, eager.centers)


def test_ring_loss_takes_its_radius_from_the_first_labeled_batch():
    embeddings, labels = batch(2, ignored=6)
    ring = heads.RingLoss()
    assert_as_eager(ring, [batch(1, ignored=BATCH), (embeddings, labels), batch(3)])
    norms = embeddings[labels >= 0].norm(dim=1)
    torch.testing.assert_close(ring.radius.detach(), norms.mean())


def test_new_margins_of_fair_loss_need_no_new_graph():
    head = heads.FairLoss(CLASSES, DIM, Policy.constant("raise"), scale=16.0, reduction="none")
    labels = torch.arange(CLASSES).repeat_interleave(torch.tensor(COUNTS))
    statistics = class_statistics(torch.randn(len(labels), DIM), labels, CLASSES)
    call, counter = compiled(head)
    embeddings, labels = batch(1, ignored=4)
    for margin in (0.35, 0.45):
        margins = torch.full((BATCH,), margin, dtype=torch.float64)
        right = margin_softmax_losses(
            embeddings, head.weight, labels, margins, kind="arc", scale=16.0
        )
        torch.testing.assert_close(call(embeddings, labels).double(), right, rtol=1e-4, atol=1e-4)
        head.end_of_epoch(statistics)
    assert counter.frame_count == 1


def test_ldam_begins_to_weight_its_classes_inside_a_graph():
    head = heads.LDAM(CLASSES, DIM, counts=COUNTS, reweight_from=1, reduction="none")
    call, _ = compiled(head)
    embeddings, labels = batch(1, ignored=4)
    before = call(embeddings, labels)
    head.end_of_epoch(None)
    after = call(embeddings, labels)
    weight = torch.tensor([1 / sum(0.9999**k for k in range(n)) for n in COUNTS])
    right = before * (weight / weight.mean())[labels]
    torch.testing.assert_close(after, torch.where(labels >= 0, right, 0))
    margins = torch.tensor([0.5 * n**-0.25 for n in COUNTS], dtype=torch.float64)[labels]
    losses = margin_softmax_losses(embeddings, head.weight, labels, margins, kind="cos", scale=30.0)
    torch.testing.assert_close(before.double(), losses, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [heads.MVSoftmax, heads.SphereFace2], ids=lambda h: h.__name__)
def test_an_exported_head_has_the_loss_of_the_head(make):
    head = make(CLASSES, DIM).eval()
    program = torch.export.export(head, batch(1)).module()
    for seed, ignored in ((1, 0), (2, 5)):
        torch.testing.assert_close(program(*batch(seed, ignored)), head(*batch(seed, ignored)))


WEIGHTED = {
    "UniFace": partial(heads.UniFace, CLASSES, DIM, reduction="sum"),
    "Triplet": partial(heads.Triplet, reduction="none"),
    "UniformFace": partial(heads.UniformFace, CLASSES, DIM),
}


@pytest.mark.parametrize("name", list(WEIGHTED))
def test_sample_weights_and_reductions_count_in_a_graph(name):
    weights = torch.linspace(0.1, 2, BATCH)
    assert_as_eager(WEIGHTED[name](), [batch(1), batch(2, ignored=5)], weights=weights)
