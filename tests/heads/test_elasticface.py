"""ElasticFace: random margins."""

from __future__ import annotations

import pytest
import torch

from fairloss import heads


def test_margins_are_normal_around_the_margin():
    head = heads.ElasticFace(3, 4, kind="cos", sigma=0.1)
    drawn = head.sample_margins(torch.zeros(1), torch.zeros(20_000), torch.zeros(1))
    assert drawn.mean().item() == pytest.approx(0.35, abs=0.004)
    assert drawn.std().item() == pytest.approx(0.1, rel=0.03)
    assert head.eval().sample_margins(torch.zeros(1), torch.zeros(5), torch.zeros(1)) is None
