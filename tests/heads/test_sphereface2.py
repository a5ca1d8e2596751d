"""SphereFace2: the first bias."""

from __future__ import annotations

import math

import pytest
import torch

from fairloss import heads


def test_the_first_bias_has_no_slope():
    head = heads.SphereFace2(50, 4)
    head.weight.data[:] = torch.tensor([0.0, 0, 0, 1])
    head(torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([7])).backward()
    assert abs(head.bias.grad.item()) < 1e-4


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("scale", [20.0, 64.0])
def test_the_first_bias_has_no_slope_with_few_classes_either(classes, scale):
    head = heads.SphereFace2(classes, 4, scale=scale)

    def slope(b):  # of the loss of all-zero cosines, by the formula
        g = 2 * 0.5**3 - 1
        target = -0.7 / (1 + math.exp(scale * (g - 0.4) + b))
        return target + 0.3 * (classes - 1) / (1 + math.exp(-scale * (g + 0.4) - b))

    b = head.bias.item()
    assert slope(b - 1e-3) < 0 < slope(b + 1e-3)
