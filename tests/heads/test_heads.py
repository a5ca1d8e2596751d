from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from torch.nn import functional as F

from fairloss.agent import MarginGrid, Policy
from fairloss.heads import HEADS, ArcFace, CosFace, FairLoss, NormFace
from fairloss_ext import class_statistics

ALL = pytest.mark.parametrize("name", list(HEADS))


def batch(classes=9, dim=16, size=20):
    return torch.randn(size, dim), torch.randint(0, classes, (size,))


def entropy(head, embeddings, labels, margin_in):
    cosine = F.linear(F.normalize(embeddings), F.normalize(head.weight))
    rows = torch.arange(len(labels))
    target = margin_in(cosine[rows, labels], labels)
    return F.cross_entropy(head.scale * cosine.index_put((rows, labels), target), labels)


def test_each_head_is_its_formula():
    embeddings, labels = batch()
    heads = {
        ArcFace(9, 16): lambda c, y: torch.cos(torch.acos(c) + 0.5),
        CosFace(9, 16): lambda c, y: c - 0.35,
        NormFace(9, 16, scale=20.0): lambda c, y: c,
    }
    for head, formula in heads.items():
        loss = head(embeddings, labels)
        torch.testing.assert_close(loss, entropy(head, embeddings, labels, formula))
    for kind in ("arc", "cos"):
        head = FairLoss(9, 16, kind=kind)
        margins = 0.15 + 0.1 * torch.randint(0, 4, (9,))
        head.set_margins(margins.double().numpy())

        def formula(c, y, kind=kind, margins=margins):
            return torch.cos(torch.acos(c) + margins[y]) if kind == "arc" else c - margins[y]

        torch.testing.assert_close(
            head(embeddings, labels), entropy(head, embeddings, labels, formula)
        )


@ALL
def test_trains_separable_clusters(name):
    torch.manual_seed(1)
    centers = torch.randn(8, 16)
    labels = torch.arange(64) % 8
    points = torch.nn.Parameter(centers[labels] + 0.1 * torch.randn(64, 16))
    head = HEADS[name](8, 16, scale=16.0)
    optimizer = torch.optim.SGD([points, *head.parameters()], lr=0.5)
    first = head(points, labels).item()
    for _ in range(30):
        optimizer.zero_grad()
        loss = head(points, labels)
        loss.backward()
        assert points.grad.isfinite().all()
        optimizer.step()
    assert loss.item() < 0.7 * first


@ALL
def test_reduction_weights_and_ignored_samples(name):
    embeddings, labels = batch()
    labels[::4] = -1
    head = HEADS[name](9, 16)
    each = {"none": None, "sum": None, "mean": None}
    for reduction in each:
        head.reduction = reduction
        each[reduction] = head(embeddings, labels)
    assert each["none"][::4].eq(0).all()
    torch.testing.assert_close(each["sum"], each["none"].sum())
    torch.testing.assert_close(each["mean"], each["none"].sum() / (labels >= 0).sum())
    weights = torch.rand(20)
    head.reduction = "mean"
    weighted = head(embeddings, labels, weights)
    torch.testing.assert_close(weighted, (weights * each["none"]).sum() / (labels >= 0).sum())
    assert head(embeddings[:0], labels[:0]).item() == 0


@ALL
def test_logits_have_no_margin(name):
    embeddings, _ = batch()
    head = HEADS[name](9, 16, scale=10.0)
    expected = 10 * F.linear(F.normalize(embeddings), F.normalize(head.weight))
    torch.testing.assert_close(head.logits(embeddings.bfloat16()), expected, atol=0.1, rtol=0)
    torch.testing.assert_close(head.logits(embeddings), expected)


@ALL
def test_checkpoint_round_trip(name):
    head = HEADS[name](9, 16, scale=20.0)
    if name == "FairLoss":
        head.set_margins(np.resize([0.15, 0.45], 9))
        head.policy = Policy.constant("lower")
    buffer = io.BytesIO()
    torch.save(head.state_dict(), buffer)
    buffer.seek(0)
    other = HEADS[name](9, 16)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    embeddings, labels = batch()
    assert torch.equal(other(embeddings, labels), head(embeddings, labels))
    if name == "FairLoss":
        assert np.array_equal(other.policy.table, head.policy.table)


def test_end_of_epoch_moves_margins_by_hand():
    # Counts 1, 2, 4 and an empty class: count bins 0, 1, 2. Spread: none, wide, narrow.
    angles = torch.tensor([0.0, 1.0, 2.0, 2.9, 3.0, 3.1, 3.2])
    embeddings = torch.stack([angles.cos(), angles.sin()], 1)
    statistics = class_statistics(embeddings, torch.tensor([0, 1, 1, 2, 2, 2, 2]), 4)
    grid = MarginGrid()
    policy = Policy.constant("keep", grid)
    table = policy.table.copy()
    states = {0: (0 * 3 + 0) * 4 + 2, 1: (1 * 3 + 2) * 4 + 2, 2: (2 * 3 + 1) * 4 + 2}
    table[states[0]], table[states[1]] = 2, 0  # class 0 rises, class 1 falls, class 2 keeps
    head = FairLoss(4, 2, Policy(grid, table, policy.q, policy.visits, {}))
    assert head.states(statistics)[:3].tolist() == list(states.values())
    head.end_of_epoch(statistics)
    torch.testing.assert_close(head.margins, torch.tensor([0.45, 0.25, 0.35, 0.35]))
    head.end_of_epoch(statistics)  # 0.45 and 0.25 are other states, which keep
    torch.testing.assert_close(head.margins, torch.tensor([0.45, 0.25, 0.35, 0.35]))


def test_always_raise_ends_at_the_top_and_stays():
    embeddings, labels = torch.randn(60, 4), torch.arange(60) % 6
    head = FairLoss(6, 4, Policy.constant("raise"), initial_margin=0.15)
    for expected in (0.25, 0.35, 0.45, 0.45):
        head.end_of_epoch(class_statistics(embeddings, labels, 6))
        torch.testing.assert_close(head.margins, torch.full((6,), expected))


def test_compiles_whole_and_margins_do_not_recompile():
    head = FairLoss(9, 16)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(head, fullgraph=True, backend=counter)
    embeddings, labels = batch()
    for margin in (0.15, 0.25, 0.45):
        head.set_margins(np.full(9, margin))
        torch.testing.assert_close(compiled(embeddings, labels), head(embeddings, labels))
    assert counter.frame_count == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ArcFace(0, 4), "num_classes: got 0"),
        (lambda: ArcFace(3, 4, scale=-1), "scale: got -1"),
        (lambda: ArcFace(3, 4, reduction="max"), "reduction: got 'max'"),
        (lambda: FairLoss(3, 4, kind="sphere"), "kind: got 'sphere', allowed are 'arc', 'cos'"),
        (lambda: FairLoss(3, 4, initial_margin=0.4), "0.4"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_statistics_of_another_set_are_refused():
    statistics = class_statistics(torch.randn(6, 4), torch.arange(6) % 3, 3)
    with pytest.raises(ValueError, match="of 3 classes, the head has 5"):
        FairLoss(5, 4).end_of_epoch(statistics)


def test_drops_into_a_plain_loop_with_amp_and_accumulation():
    model, head = torch.nn.Linear(8, 16), FairLoss(9, 16)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
    before = head.weight.detach().clone()
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = head(model(torch.randn(20, 8)), torch.randint(0, 9, (20,)))
        (loss / 2).backward()
    optimizer.step()
    assert not torch.equal(before, head.weight)
