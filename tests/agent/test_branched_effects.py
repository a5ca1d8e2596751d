"""Effects from branches of an epoch, which start from the same network."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.agent import EffectModel, MarginGrid

GRID = MarginGrid()


def test_what_branches_share_cancels():
    """Each cell of each start has its own change, which no trend follows: effects are exact."""
    random = np.random.default_rng(0)
    starts, branches, own, common = 8, 3, np.array([0.5, -0.1]), 2.0
    moves = random.integers(-1, 2, (starts, branches, 2))
    moves[:, 0] = 0  # the control
    mean = moves.mean(axis=2)
    base = 10 * random.standard_normal((starts, 1, 2))
    changes = base + own * moves + common * mean[..., None]
    shape = moves.shape
    state = np.broadcast_to([1, 5], shape)  # margin 0.25 of two groups
    start, branch = (
        np.broadcast_to(np.arange(n).reshape(to), shape)
        for n, to in ((starts, (-1, 1, 1)), (branches, (1, -1, 1)))
    )
    level = np.broadcast_to(0.3 + 0.05 * random.standard_normal((starts, 1, 1)), shape)
    means = np.broadcast_to(mean[..., None], shape)
    columns = (state, moves + 1, np.ones(shape), np.zeros(shape), start, means, level)
    columns = [column.reshape(-1) for column in columns]
    paired = EffectModel(*columns, GRID, branch.reshape(-1)).fit(changes.reshape(-1))
    np.testing.assert_allclose(paired.steps[:2, :2], np.repeat(own, 2).reshape(2, 2), atol=1e-8)
    assert paired.common == pytest.approx(common)
    assert paired.common_error < 1e-8
    columns[4] = (start * branches + branch).reshape(-1)  # as epochs of a chain
    apart = EffectModel(*columns, GRID).fit(changes.reshape(-1))
    assert abs(apart.common - common) > 0.5
