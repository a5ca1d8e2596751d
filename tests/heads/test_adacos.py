"""AdaCos: the scale."""

from __future__ import annotations

import math

import pytest
import torch

from fairloss import heads


def test_the_scale_follows_the_median_angle():
    angles = torch.linspace(0.1, 0.6, 5)
    head = heads.AdaCos(50, 52)
    head.weight.data = torch.eye(50, 52)
    points = torch.zeros(5, 52)
    points[range(5), range(5)], points[:, 51] = angles.cos(), angles.sin()
    before = head.scale.item()
    head(points, torch.arange(5))
    assert before != pytest.approx(math.log(49) / math.cos(0.35), rel=1e-2)
    assert head.scale.item() == pytest.approx(math.log(49) / math.cos(0.35), rel=1e-5)


def test_two_forward_passes_may_come_before_their_backward_pass():
    torch.manual_seed(2)
    head = heads.AdaCos(30, 8)
    x, y = torch.randn(2, 12, 8, requires_grad=True), torch.arange(12)
    first, second = head(x[0], y), head(3 * x[1], y)
    (first + second).backward()
    together = head.weight.grad.clone()
    torch.manual_seed(2)
    alone = heads.AdaCos(30, 8)
    for number in range(2):
        alone((1, 3)[number] * x[number].detach(), y).backward()
    torch.testing.assert_close(together, alone.weight.grad)


def test_the_scale_starts_at_its_formula_and_stays_above_1():
    assert heads.AdaCos(1001, 4).scale.item() == pytest.approx(math.sqrt(2) * math.log(1000))
    for classes in (1, 2, 3):
        head = heads.AdaCos(classes, 4)
        head(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64)).backward()
        assert head.scale >= 1
    fixed = heads.AdaCos(9, 4, dynamic=False)
    before = fixed.scale.item()
    fixed(torch.randn(4, 4), torch.zeros(4, dtype=torch.int64))
    assert fixed.scale.item() == before
