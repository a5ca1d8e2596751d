"""UniFace: the weight of negatives, and the clamp of the authors' code."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fairloss import heads


def test_negatives_have_their_weight():
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    losses = []
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(1)
        head = heads.UniFace(3, 4, negative_weight=weight, reduction="none")
        losses.append(head(x, y).detach())
    torch.testing.assert_close(losses[2] - losses[0], 3 * (losses[1] - losses[0]))
    assert (losses[1] > losses[0]).any()


def clamped_losses(cosine, y, bias):
    """Both logits clamped to [-s, s] before the softplus, s = 64, m = 0.4."""
    target = F.softplus(-(64 * (cosine.gather(1, y[:, None]) - 0.4) - bias).clamp(-64, 64))
    others = F.softplus((64 * cosine - bias).clamp(-64, 64)).scatter(1, y[:, None], 0)
    return target.squeeze(1) + others.sum(dim=1)


def test_the_authors_clamp_differs_below_the_documented_cosine_alone():
    head = heads.UniFace(40, 16, reduction="none").double()
    limit = 0.4 - 1 + head.bias.item() / 64
    assert limit == pytest.approx(-0.506, abs=1e-3)
    targets = torch.linspace(-0.98, 0.98, 61, dtype=torch.float64)
    y = torch.arange(61) % 40
    w = F.normalize(head.weight.detach())
    apart = torch.randn(61, 16).double()
    apart = F.normalize(apart - (apart * w[y]).sum(1, keepdim=True) * w[y])
    x = targets[:, None] * w[y] + (1 - targets.square()).sqrt()[:, None] * apart
    theirs = clamped_losses(x @ w.T, y, head.bias.detach())
    gap = (64 * (limit - targets)).clamp(min=0)  # slope -64 here, 0 there
    torch.testing.assert_close(head(x, y), theirs + gap)
