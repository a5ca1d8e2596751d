"""The learning rate of every step as a fraction of the configured one."""

import warnings
from collections.abc import Sequence
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def step_factor(decay_at: Sequence[float], epochs: int, finished: int) -> float:
    """Return 1, divided by 10 after each fraction of the epochs.

    Args:
        decay_at: ascending fractions of `epochs`.
        epochs: of the whole run.
        finished: epochs that are done.
    """
    return float(0.1 ** sum(finished + 1 > fraction * epochs for fraction in decay_at))


def polynomial_factor(power: float, step: int, total: int, warmup: float) -> float:
    """Return 1 up to the end of the warm-up, then ``(1 - t) ** power``.

    t goes from 0 to 1 - 1 / (total - warmup), so that the last step still trains.

    Args:
        power: of the polynomial.
        step: steps that are done.
        total: steps of the whole run.
        warmup: steps of the warm-up, fewer than `total`.
    """
    return float((1 - max(0.0, step - warmup) / (total - warmup)) ** power)


def warmup_factor(step: int, warmup: float) -> float:
    """Return 1 / warmup for the first step, 2 / warmup for the second, and so on up to 1.

    Args:
        step: steps that are done.
        warmup: steps of the warm-up.
    """
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def step_schedule(
    optimizer: Optimizer,
    learning_rate: float,
    decay_at: Sequence[float],
    epochs: int,
    finished: int = 0,
) -> LambdaLR:
    """Return torch's scheduler of `step_factor` after `finished` epochs; deprecated."""
    message = "step_schedule will be removed: use torch's LambdaLR with fairloss.optim.step_factor"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    for group in optimizer.param_groups:
        group["initial_lr"] = learning_rate
    return LambdaLR(optimizer, partial(step_factor, decay_at, epochs), finished - 1)
