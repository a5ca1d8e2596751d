"""LDAM: margins and deferred weights."""

from __future__ import annotations

import pytest
import torch

from fairloss import heads
from fairloss_ext import class_statistics


def test_weights_begin_at_the_given_epoch():
    head = heads.LDAM(3, 4, counts=[1, 10, 100], reweight_from=2, reduction="none")
    embeddings, labels = torch.randn(9, 4), torch.arange(9) % 3
    statistics = class_statistics(embeddings, labels, 3)
    torch.testing.assert_close(head.margins, 0.5 / torch.tensor([1, 10, 100.0]) ** 0.25)
    plain = head(embeddings, labels)
    for epoch in range(2):
        assert torch.equal(head(embeddings, labels), plain), epoch
        head.end_of_epoch(statistics)
    ratio = (head(embeddings, labels) / plain)[:3]
    assert ratio.mean().item() == pytest.approx(1, rel=1e-4)
    assert ratio[0] > 9 * ratio[1]  # about as 1 / n while n is far below 1 / (1 - beta)
