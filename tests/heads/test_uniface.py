"""UniFace: the weight of negatives."""

from __future__ import annotations

import torch

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
