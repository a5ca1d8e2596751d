from __future__ import annotations

import copy
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import margin_softmax_losses

from fairloss.heads import ArcFace, CosFace, CosineHead, FairLoss, NormFace, sample_classes
from fairloss.optim import RowSGD
from fairloss_ext.splitmix64 import splitmix64 as hashed

CLASSES, DIM, BATCH = 60, 16, 20


def batch():
    labels = torch.randint(0, CLASSES, (BATCH,))
    labels[::5] = -1
    return torch.randn(BATCH, DIM), labels


def splitmix64(seed: int, number: int) -> int:
    """splitmix64.c with Python's integers."""
    mask = (1 << 64) - 1
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]  # of seed 1234567
    assert [splitmix64(1234567, n) for n in range(3)] == published
    for seed in (0, 1234567, -1, 2**63 - 1):
        ours = hashed(torch.tensor(seed), torch.arange(200))
        assert [z % 2**64 for z in ours.tolist()] == [splitmix64(seed, n) for n in range(200)]


def test_the_draw_depends_on_seed_step_and_class_alone():
    unlabeled = torch.full((3,), -1)
    index, labels = sample_classes(unlabeled, 500, 0.25, step=7, seed=3)
    drawn = [c for c in range(500) if splitmix64(splitmix64(3, 7), c) < 2**62]
    assert index.tolist() == drawn
    assert labels.tolist() == [-1] * 3
    assert sample_classes(unlabeled, 200, 0.25, 7, 3)[0].tolist() == [c for c in drawn if c < 200]
    again = sample_classes(unlabeled, 500, 0.25, torch.tensor(7), 3)[0]
    assert torch.equal(again, index)


def test_the_classes_of_the_batch_are_drawn_and_labels_are_their_positions():
    for step in range(20):
        labels = torch.randint(-1, 1000, (64,), dtype=torch.int32)
        index, positions = sample_classes(labels, 1000, 0.05, step, 0)
        assert index.dtype == positions.dtype == torch.int64
        assert (index[1:] > index[:-1]).all()
        assert torch.equal(index[positions[labels >= 0]], labels[labels >= 0].long())
        assert (positions[labels < 0] == -1).all()
        others = sample_classes(torch.full((1,), -1), 1000, 0.05, step, 0)[0]
        assert set(index.tolist()) == set(others.tolist()) | set(labels[labels >= 0].tolist())


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_fraction_is_the_rate_and_steps_and_seeds_are_independent(rate):
    size = 100_000
    unlabeled = torch.tensor([-1])
    draws = [sample_classes(unlabeled, size, rate, s, k)[0] for s, k in ((0, 0), (1, 0), (0, 1))]

    def within_five_sigma(count, probability):
        sigma = math.sqrt(size * probability * (1 - probability))
        assert abs(count - size * probability) < 5 * sigma

    masks = [torch.zeros(size, dtype=torch.bool).index_fill(0, draw, True) for draw in draws]
    for number, mask in enumerate(masks):
        within_five_sigma(mask.sum().item(), rate)
        within_five_sigma((mask & masks[number - 1]).sum().item(), rate**2)
        within_five_sigma((mask[1:] & mask[:-1]).sum().item(), rate**2)


def test_full_rate_takes_every_class():
    _, labels = batch()
    index, positions = sample_classes(labels, CLASSES, 1.0, 5, 5)
    assert torch.equal(index, torch.arange(CLASSES))
    assert torch.equal(positions, labels)


@pytest.mark.parametrize(
    ("labels", "rate", "message"),
    [
        ([0, 9], 0.5, "labels: expected -1 to 8, got 9 at position 1"),
        ([0, -2], 0.5, "labels: expected -1 to 8, got -2 at position 1"),
        ([0.0], 0.5, "labels: expected a tensor of integers, got torch.float32"),
        ([0], 0.0, r"rate: expected a number in \(0, 1\], got 0.0"),
        ([0], 1.5, "rate: expected .* got 1.5"),
        ([0], math.nan, "rate: expected .* got nan"),
    ],
)
def test_bad_arguments_are_named(labels, rate, message):
    with pytest.raises(ValueError, match=message):
        sample_classes(torch.tensor(labels), 9, rate, 0, 0)


def sampled_heads():
    options = {"sample_rate": 0.3, "sample_seed": 5}
    fair = FairLoss(CLASSES, DIM, **options)
    fair.set_margins(np.resize([0.15, 0.25, 0.35, 0.45], CLASSES))
    triples = torch.rand(CLASSES, 3) * 0.3 + torch.tensor([1.0, 0.1, 0.0])
    combined = {"kind": "combined", "extension": "none"}
    return {
        "fair": fair,
        "arc": ArcFace(CLASSES, DIM, **options),
        "cos": CosFace(CLASSES, DIM, **options),
        "norm": NormFace(CLASSES, DIM, **options),
        "triples": CosineHead(CLASSES, DIM, triples, **combined, **options),
        "one triple": CosineHead(CLASSES, DIM, [1.1, 0.2, 0.1], **combined, **options),
    }


@pytest.mark.parametrize("name", list(sampled_heads()))
def test_loss_and_gradient_are_those_of_the_drawn_classes(name):
    head = sampled_heads()[name]
    for step in range(3):
        embeddings, labels = batch()
        embeddings.requires_grad_()
        index, positions = sample_classes(labels, CLASSES, 0.3, step, 5)
        assert len(index) < CLASSES
        weight = head.weight.detach().double().requires_grad_()
        exact = embeddings.detach().double().requires_grad_()
        rows = head.margins.dim() - (head.kind == "combined")
        margins = (
            head.margins[labels.clamp(min=0)]
            if rows
            else head.margins.expand(BATCH, *head.margins.shape)
        )
        expected = (
            margin_softmax_losses(
                exact,
                weight[index],
                positions,
                margins.double(),
                kind=head.kind,
                scale=64.0,
                extension=head.extension,
            ).sum()
            / (labels >= 0).sum()
        )
        expected.backward()
        head.weight.grad = None
        loss = head(embeddings, labels)
        loss.backward()
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        gradient = head.weight.grad
        assert gradient.is_sparse
        assert torch.equal(gradient._indices()[0], index)
        torch.testing.assert_close(gradient.to_dense().double(), weight.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(embeddings.grad.double(), exact.grad, rtol=1e-3, atol=1e-4)
        assert head.step == step + 1


def test_a_rate_of_one_and_eval_mode_take_all_classes():
    embeddings, labels = batch()
    whole = FairLoss(CLASSES, DIM)
    sampled = FairLoss(CLASSES, DIM, sample_rate=0.2)
    sampled.weight.data.copy_(whole.weight.data)
    assert torch.equal(sampled.eval()(embeddings, labels), whole(embeddings, labels))
    assert sampled.step == 0
    assert sampled.train()(embeddings, labels) < whole(embeddings, labels)  # fewer negatives
    assert torch.equal(sampled.logits(embeddings), whole.logits(embeddings))
    assert whole.state_dict().keys() == sampled.state_dict().keys() - {"step"}
    whole(embeddings, labels).backward()
    assert not whole.weight.grad.is_sparse


def test_a_restored_head_draws_what_it_would_have_drawn():
    head = ArcFace(CLASSES, DIM, sample_rate=0.2)
    batches = [batch() for _ in range(4)]
    for embeddings, labels in batches[:2]:
        head(embeddings, labels)
    other = ArcFace(CLASSES, DIM, sample_rate=0.2)
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    for embeddings, labels in batches[2:]:
        assert torch.equal(head(embeddings, labels), other(embeddings, labels))
    reseeded = ArcFace(CLASSES, DIM, sample_rate=0.2, sample_seed=1)
    reseeded.load_state_dict(head.state_dict())
    assert not torch.equal(head(*batches[0]), reseeded(*batches[0]))


def test_a_batch_of_ignored_samples_and_an_empty_one_cost_nothing():
    head = ArcFace(CLASSES, DIM, sample_rate=1e-6)
    for size in (3, 0):
        loss = head(torch.randn(size, DIM, requires_grad=True), torch.full((size,), -1))
        loss.backward()
        assert loss.item() == 0


def test_it_trains_separable_clusters():
    torch.manual_seed(1)
    centers, labels = torch.randn(CLASSES, DIM), torch.arange(4 * CLASSES) % CLASSES
    points = centers[labels] + 0.1 * torch.randn(len(labels), DIM)
    head = CosFace(CLASSES, DIM, scale=16.0, sample_rate=0.2)
    optimizer = RowSGD(head.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    for step in range(60):
        indices = torch.arange(step * 16, step * 16 + 16) % len(labels)
        optimizer.zero_grad()
        head(points[indices], labels[indices]).backward()
        optimizer.step()
    assert (head.logits(points).argmax(1) == labels).float().mean() > 0.95


def test_a_dense_gradient_is_the_sparse_one_and_any_optimizer_takes_it():
    embeddings, labels = batch()
    row_sparse = ArcFace(CLASSES, DIM, sample_rate=0.3)
    heads = [row_sparse] + [ArcFace(CLASSES, DIM, sample_rate=0.3, sparse=False) for _ in range(2)]
    for head in heads[1:]:
        head.load_state_dict(row_sparse.state_dict())
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for head in heads:
        scaler.scale(head(embeddings, labels)).backward()
    expected = row_sparse.weight.grad.to_dense()
    for head, optimizer in zip(heads[1:], (torch.optim.SGD, torch.optim.AdamW), strict=True):
        assert torch.equal(head.weight.grad, expected)
        torch.nn.utils.clip_grad_norm_(head.parameters(), 0.5)
        torch.testing.assert_close(head.weight.grad.norm(), torch.tensor(0.5))
        before = head.weight.detach().clone()
        step = optimizer(head.parameters(), lr=0.1, weight_decay=0.1)
        scaler.step(step)
        scaler.update()
        assert (head.weight != before).all()  # the decay acts on all rows


def test_bad_rates_are_named():
    with pytest.raises(ValueError, match=r"sample_rate: expected a number in \(0, 1\], got 0"):
        ArcFace(3, 4, sample_rate=0)


def test_the_example_in_the_documentation_runs():
    page = Path(__file__).parents[2] / "docs" / "sampled-classes.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["touched"] < 0.3 * names["head"].num_classes
