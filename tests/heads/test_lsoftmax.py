"""L-Softmax and SphereFace: the schedule of lambda."""

from __future__ import annotations

import pytest
import torch

from fairloss import heads


@pytest.mark.parametrize(
    ("head", "step", "expected"),
    [
        (heads.SphereFace, 1, 1000 / 1.12),
        (heads.SphereFace, 1000, 1000 / 121),
        (heads.SphereFace, 16000, 5.0),
        (heads.LSoftmax, 10_000, 1000 * 1.25**-35),
    ],
)
def test_lambda_falls_as_scheduled(head, step, expected):
    made = head(3, 4)
    made.step.fill_(step - 1)
    made(torch.randn(2, 4), torch.tensor([0, 1]))
    assert made.step == step
    assert made.ease().item() == pytest.approx(expected, rel=1e-5)
    made.eval()(torch.randn(2, 4), torch.tensor([0, 1]))
    assert made.step == step
