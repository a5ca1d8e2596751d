"""Fair Loss: margins of classes, their policy and checkpoints."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
import torch._dynamo.testing
import torch.distributed.checkpoint as dcp
from oracles import margin_softmax_losses

from fairloss.agent import MarginGrid, Policy
from fairloss.heads import FairLoss
from fairloss_ext import class_statistics


def batch(classes=9, dim=16, size=20):
    return torch.randn(size, dim), torch.randint(0, classes, (size,))


@pytest.mark.parametrize("kind", ["arc", "cos"])
def test_every_class_has_its_own_margin(kind):
    embeddings, labels = batch()
    head = FairLoss(9, 16, kind=kind, reduction="none")
    margins = 0.15 + 0.1 * torch.randint(0, 4, (9,))
    head.set_margins(margins.double().numpy())
    expected = margin_softmax_losses(
        embeddings, head.weight, labels, margins[labels].double(), kind=kind, scale=64.0
    )
    torch.testing.assert_close(head(embeddings, labels).double(), expected, rtol=1e-4, atol=1e-4)


def test_checkpoints_hold_margins_and_policy():
    head = FairLoss(9, 16, Policy.constant("lower"))
    head.set_margins(np.resize([0.15, 0.45], 9))
    buffer = io.BytesIO()
    torch.save(head.state_dict(), buffer)
    buffer.seek(0)
    other = FairLoss(9, 16)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other.margins, head.margins)
    assert np.array_equal(other.policy.table, head.policy.table)


def test_a_restored_head_with_a_random_policy_draws_what_the_first_would_have():
    head, statistics = FairLoss(9, 16, Policy.random(3)), class_statistics(*batch(size=60), 9)
    other = FairLoss(9, 16, Policy.random(3))  # as read from the file, before the first epoch
    tables = [head.policy.table]
    for _ in range(3):
        head.end_of_epoch(statistics)
        tables.append(head.policy.table)
    other.load_state_dict(head.state_dict())
    for _ in range(3):
        for one in (head, other):
            one.end_of_epoch(statistics)
        assert torch.equal(head.margins, other.margins)
        assert np.array_equal(head.policy.table, other.policy.table)
    assert len({table.tobytes() for table in tables}) == 4


def test_end_of_epoch_changes_margins_as_computed_by_hand():
    # Counts 1, 2, 4 and an empty class: count bins 0, 1, 2. Spread: none, wide, narrow.
    angles = torch.tensor([0.0, 1.0, 2.0, 2.9, 3.0, 3.1, 3.2])
    embeddings = torch.stack([angles.cos(), angles.sin()], 1)
    statistics = class_statistics(embeddings, torch.tensor([0, 1, 1, 2, 2, 2, 2]), 4)
    grid = MarginGrid()
    policy = Policy.constant("keep", grid)
    table = policy.table.copy()
    states = {0: (0 * 3 + 0) * 4 + 2, 1: (1 * 3 + 2) * 4 + 2, 2: (2 * 3 + 1) * 4 + 2}
    table[states[0]], table[states[1]] = 2, 0  # raise class 0, lower class 1, keep class 2
    head = FairLoss(4, 2, Policy(grid, table, policy.q, policy.visits, {}))
    assert head.states(statistics)[:3].tolist() == list(states.values())
    head.end_of_epoch(statistics)
    torch.testing.assert_close(head.margins, torch.tensor([0.45, 0.25, 0.35, 0.35]))
    head.end_of_epoch(statistics)  # 0.45 and 0.25 are other states, which keep
    torch.testing.assert_close(head.margins, torch.tensor([0.45, 0.25, 0.35, 0.35]))


def test_always_raise_ends_at_the_largest_margin():
    embeddings, labels = torch.randn(60, 4), torch.arange(60) % 6
    head = FairLoss(6, 4, Policy.constant("raise"), initial_margin=0.15)
    for expected in (0.25, 0.35, 0.45, 0.45):
        head.end_of_epoch(class_statistics(embeddings, labels, 6))
        torch.testing.assert_close(head.margins, torch.full((6,), expected))


def test_the_graph_is_whole_and_margins_do_not_recompile_it():
    head = FairLoss(9, 16)
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(head, fullgraph=True, backend=counter)
    embeddings, labels = batch()
    for margin in (0.15, 0.25, 0.45):
        head.set_margins(np.full(9, margin))
        torch.testing.assert_close(compiled(embeddings, labels), head(embeddings, labels))
    assert counter.frame_count == 1


def test_a_plain_loop_with_amp_and_accumulation_trains_it():
    model, head = torch.nn.Linear(8, 16), FairLoss(9, 16)
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
    before = head.weight.detach().clone()
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = head(model(torch.randn(20, 8)), torch.randint(0, 9, (20,)))
        (loss / 2).backward()
    optimizer.step()
    assert not torch.equal(before, head.weight)


@pytest.mark.parametrize(
    ("images", "cuts", "message"),
    [
        ([1] * 7 + [2, 3, 4], None, "some images by the cuts 1 and 1, so 12 of 36 states"),
        ([5] * 4, None, "some or many images by the cuts 5 and 5, so 24 of 36 states"),
        ([1, 2, 3], (5, 9), "some or many images by the cuts 5 and 9, so 24 of 36 states"),
        ([1] * 7 + [2, 3, 4], (1, 3), None),
        ([1, 2, 3], None, None),
    ],
)
def test_bins_of_image_counts_without_a_class_are_named_once(images, cuts, message):
    head = FairLoss(len(images), 4, Policy.constant("keep"), count_cuts=cuts)
    labels = torch.arange(len(images)).repeat_interleave(torch.tensor(images))
    statistics = class_statistics(torch.randn(len(labels), 4), labels, len(images))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        head.end_of_epoch(statistics)
        head.end_of_epoch(statistics)
    texts = [str(warning.message) for warning in caught]
    assert [f"no class has {message}" in text for text in texts] == [True] * (message is not None)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_distributed_checkpoint_replaces_another_policy(tmp_path):
    trained = FairLoss(5, 4, Policy.random(seed=2))
    for _ in range(10):  # the number of the epoch has two digits
        trained.policy = trained.policy.next_epoch()
    dcp.save(trained.state_dict(), checkpoint_id=tmp_path)
    for policy in (Policy.random(seed=2), Policy.constant("keep")):
        head = FairLoss(5, 4, policy)
        state = head.state_dict()
        dcp.load(state, checkpoint_id=tmp_path)
        head.load_state_dict(state)
        assert head.policy.redraw == trained.policy.redraw
        assert np.array_equal(head.policy.table, trained.policy.table)
