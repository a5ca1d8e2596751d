"""AdaptiveFace: learned margins."""

from __future__ import annotations

import pytest
import torch

from fairloss import heads


def test_margins_stay_between_0_and_1():
    head = heads.AdaptiveFace(3, 4)
    assert ((head.margins >= 0.3) & (head.margins <= 0.4)).all()
    head.margins.data = torch.tensor([-1.0, 0.5, 3.0])
    head(torch.randn(2, 4), torch.tensor([0, 1])).backward()
    assert head.margins.tolist() == [0, 0.5, 1]
    assert head.margins.grad[2].item() == pytest.approx(
        -70 / 3, rel=1e-5
    )  # no sample of this class
