"""Optimizers by name."""

from __future__ import annotations

import pytest
import torch
from step_cases import trainer, weights

from fairloss.optim import RowSGD, build_optimizer
from fairloss.training import OptimizerConfig

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def test_names_give_the_optimizers_of_torch():
    params = [torch.zeros(2, requires_grad=True)]
    assert type(build_optimizer("sgd", params, **SETTINGS)) is torch.optim.SGD
    assert type(build_optimizer("sgd", params, **SETTINGS, row_sparse=True)) is RowSGD
    with pytest.raises(ValueError, match=r"^optimizer.name: expected sgd where head.sample_rate"):
        build_optimizer("adamw", params, **SETTINGS, row_sparse=True)


def test_a_step_of_adamw_moves_every_weight_by_the_learning_rate():
    settings = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.5)
    made = trainer(optimizer=settings)
    before = weights(made)
    made.run_epoch(1)
    moves = weights(made) - before * (1 - 0.01 * 0.5)  # the decay is decoupled
    steps = moves[moves != 0].abs()  # 0: weights without a gradient
    torch.testing.assert_close(steps, torch.full_like(steps, 0.01), rtol=0.05, atol=0)
