from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from oracles import margin_softmax_losses

from fairloss import heads
from fairloss.agent import MarginGrid, Policy
from fairloss.heads import ArcFace, FairLoss
from fairloss_ext import class_statistics, cosine_partition


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
        (lambda: heads.CosineHead(3, 4, [0.1, 0.2], kind="cos"), "margins: got shape \\(2,\\)"),
        (lambda: heads.MVSoftmax(3, 4, kind="sphere"), "kind: got 'sphere'"),
        (lambda: heads.MVSoftmax(3, 4, t=0.9), "t: got 0.9"),
        (lambda: heads.ElasticFace(3, 4, sigma=-1), "sigma: got -1"),
        (lambda: heads.MagFace(3, 4, norms_at=(5, 5)), "norms_at: got"),
        (lambda: heads.LDAM(3, 4, counts=[1, 2]), "counts: got shape \\(2,\\), expected \\(3,\\)"),
        (lambda: heads.LDAM(3, 4, counts=[1, 2, 3], beta=1), "beta: got 1"),
        (lambda: heads.LSoftmax(3, 4, 2.5), "margin: got 2.5, expected a positive integer"),
        (lambda: heads.SoftMargin(3, 4, -1), "margin: got -1"),
        (lambda: heads.SphereFace2(3, 4, alpha=1), "alpha: got 1"),
        (lambda: heads.UniFace(3, 4, scale=0), "scale: got 0"),
        (lambda: heads.NPTLoss(3, 4, r=0), "r: got 0"),
        (lambda: heads.ArcFace(3, 4, np.nan), "margins: got nan, expected finite numbers"),
        (lambda: heads.Combined(3, 4, m2=np.inf), "margins: got .*inf.*, expected finite numbers"),
        (lambda: heads.SphereFaceR(3, 4, 0.9), "margin: got 0.9, expected a number of at least 1"),
        (lambda: heads.AdaFace(3, 4, momentum=1.5), r"momentum: got 1.5, .* \[0, 1\]"),
        (lambda: heads.CurricularFace(3, 4, momentum=-1), r"momentum: got -1, .* \[0, 1\]"),
        (lambda: heads.KappaFace(3, 4, gamma=2), r"gamma: got 2, .* \[0, 1\]"),
        (lambda: heads.KappaFace(3, 4, np.inf), "margins: got .*inf"),
        (lambda: heads.MagFace(3, 4, margins_at=(0.4, np.nan)), "margins_at: got nan"),
        (lambda: heads.LDAM(3, 4, counts=[1, 2, 3], largest_margin=-1), "largest_margin: got -1"),
        (lambda: heads.SphereFace2(3, 4, t=0), "t: got 0"),
        (lambda: heads.SphereFace2(3, 4, np.nan), "margin: got nan"),
        (lambda: heads.UniFace(3, 4, np.inf), "margin: got inf, expected a finite number"),
        (lambda: heads.UniFace(3, 4, negative_weight=-1), "negative_weight: got -1"),
        (lambda: heads.NPTLoss(3, 4, np.nan), "margin: got nan"),
        (lambda: heads.Triplet(margin=0), "margin: got 0"),
        (lambda: heads.CenterLoss(0, 4), "num_classes: got 0"),
        (lambda: heads.UniformFace(3, 4, alpha=2), "alpha: got 2"),
        (lambda: heads.RingLoss(reduction="max"), "reduction: got 'max'"),
        (lambda: heads.Softmax(3, 4)(torch.ones(1, 4), torch.tensor([3])), "labels: got 3"),
        (lambda: FairLoss(3, 4, kind="sphere"), "kind: got 'sphere', allowed are 'arc', 'cos'"),
        (lambda: FairLoss(3, 4, initial_margin=0.4), "0.4"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("head", [ArcFace, heads.MVSoftmax])
def test_options_of_the_op_reach_it(head, monkeypatch):
    seen = {}

    def spy(*arguments, **options):
        seen.update(options)
        return cosine_partition(*arguments, **options)

    monkeypatch.setattr(heads.cosine, "cosine_partition", spy)
    options = {"workspace": 4096, "compute_dtype": torch.bfloat16, "fused": True}
    head(9, 16, **options)(*batch())
    assert options.items() <= seen.items()


@pytest.mark.parametrize("head", [FairLoss, heads.KappaFace])
def test_statistics_of_another_set_are_refused(head):
    statistics = class_statistics(torch.randn(6, 4), torch.arange(6) % 3, 3)
    with pytest.raises(ValueError, match="of 3 classes, the head has 5"):
        head(5, 4).end_of_epoch(statistics)


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
