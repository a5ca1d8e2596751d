"""Optimizers, one of them for row-sparse gradients, and schedules of the learning rate."""

from fairloss.optim.optimizers import OPTIMIZERS, build_optimizer, check_optimizer
from fairloss.optim.row_sgd import RowSGD
from fairloss.optim.schedule import (
    polynomial_factor,
    step_factor,
    step_schedule,
    warmup_factor,
)

__all__ = [
    "OPTIMIZERS",
    "RowSGD",
    "build_optimizer",
    "check_optimizer",
    "polynomial_factor",
    "step_factor",
    "step_schedule",
    "warmup_factor",
]
