"""The learning rate of every epoch."""

import pytest
import torch

from fairloss.optim import step_schedule

DECAY_AT = (0.625, 0.875)


def test_learning_rate_falls_after_the_given_fractions():
    expected = {1: 0.1, 20: 0.1, 21: 0.01, 28: 0.01, 29: 0.001, 32: 0.001}
    optimizer = torch.optim.SGD([torch.zeros(1)])
    schedule = step_schedule(optimizer, 0.1, DECAY_AT, epochs=32)
    rates = {}
    for epoch in range(1, 33):
        rates[epoch] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        schedule.step()
    assert {epoch: rates[epoch] for epoch in expected} == pytest.approx(expected)
    for epoch, rate in rates.items():  # a resumed run
        step_schedule(optimizer, 0.1, DECAY_AT, epochs=32, finished=epoch - 1)
        assert optimizer.param_groups[0]["lr"] == rate
