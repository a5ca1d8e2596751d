"""MV-Softmax: the threshold of hard negatives with extension="easy"."""

from __future__ import annotations

import math

import torch

from fairloss import heads


def losses(targets: list[float], negative: float, *, easy_threshold: bool) -> list[float]:
    """Return losses of two classes by the formula, m = 0.35, s = 32, t = 1.2; easy target."""
    result = []
    for target in targets:
        phi = target - 0.35
        easy = phi if target > 0 else target
        raised = 1.2 * negative + 0.2
        other = raised if negative > (easy if easy_threshold else phi) else negative
        result.append(math.log1p(math.exp(32 * (other - easy))))
    return result


def test_easy_does_not_raise_negatives_between_phi_and_a_negative_target_as_the_authors_do():
    targets = [-0.6, -0.3, -0.1, 0.1, 0.3, 0.6]
    negative = -0.4
    head = heads.MVSoftmax(2, 3, extension="easy", reduction="none")
    head.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    rest = [(1 - negative**2 - target**2) ** 0.5 for target in targets]
    x = torch.tensor([[target, negative, z] for target, z in zip(targets, rest, strict=True)])
    ours = head(x, torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(ours, torch.tensor(losses(targets, negative, easy_threshold=True)))
    theirs = torch.tensor(losses(targets, negative, easy_threshold=False))
    different = (ours - theirs).abs() > 1e-4
    assert different.tolist() == [False, True, True, False, False, False]
