"""CurricularFace: the moving average t."""

from __future__ import annotations

import pytest
import torch

from fairloss import heads


def test_t_is_a_moving_average_of_the_target_cosine():
    head = heads.CurricularFace(2, 2)
    head.weight.data = torch.eye(2)
    points = torch.tensor([[0.6, 0.8], [1.0, 0.0], [3.0, 4.0]])
    head(points, torch.tensor([0, 1, -1]))  # target cosines 0.6 and 0
    assert head.t.item() == pytest.approx(0.003)
    head(points, torch.tensor([-1, -1, 1]))  # 0.8
    assert head.t.item() == pytest.approx(0.99 * 0.003 + 0.008)
    head.eval()(points, torch.tensor([0, 0, 0]))
    assert head.t.item() == pytest.approx(0.99 * 0.003 + 0.008)
