"""AdaFace: margins by the norm."""

from __future__ import annotations

import math

import pytest
import torch

from fairloss import heads


def test_the_angle_is_clipped_and_long_embeddings_get_larger_margins():
    head = heads.AdaFace(2, 2, reduction="none").eval()
    head.norm_mean.fill_(20)
    head.norm_std.fill_(1)
    head.weight.data = torch.eye(2)
    # z = 1: theta - 0.4 is clipped to 1e-3, and 0.8 is taken off; the other cosine is sin 0.1
    loss = head(100 * torch.tensor([[math.cos(0.1), math.sin(0.1)]]), torch.tensor([0]))
    gap = 64 * (math.sin(0.1) - (math.cos(1e-3) - 0.8))
    assert loss.item() == pytest.approx(math.log1p(math.exp(gap)), rel=1e-4)
    # z = -1: theta + 0.4 is clipped to pi - 1e-3; nothing is taken off
    loss = head(0.1 * torch.tensor([[-math.cos(0.1), math.sin(0.1)]]), torch.tensor([0]))
    gap = 64 * (math.sin(0.1) - math.cos(math.pi - 1e-3))
    assert loss.item() == pytest.approx(gap, rel=1e-6)
    theta = math.acos(-math.cos(0.1))
    clipped = head.sample_margins(
        torch.tensor([[0.1, 0]]), torch.tensor([-math.cos(0.1)]), torch.tensor([0])
    )
    assert clipped[0, 1].item() == pytest.approx(math.pi - 1e-3 - theta, abs=1e-5)
    short, long = head.sample_margins(
        torch.tensor([[1.0, 0], [100, 0]]), torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    ).tolist()
    assert short == pytest.approx([1, 0.4, 0])
    assert long == pytest.approx([1, -0.4, 0.8])
