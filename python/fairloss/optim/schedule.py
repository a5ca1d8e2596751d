"""The learning rate of every epoch, by torch's schedulers."""

from collections.abc import Sequence
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def step_schedule(
    optimizer: Optimizer,
    learning_rate: float,
    decay_at: Sequence[float],
    epochs: int,
    finished: int = 0,
) -> LambdaLR:
    """Return a scheduler that divides the rate by 10 after each fraction of the epochs.

    Args:
        optimizer: its rate is set to that of the next epoch.
        learning_rate: of the first epoch.
        decay_at: ascending fractions of `epochs`.
        epochs: of the whole run.
        finished: epochs that are done; `step()` counts one more.
    """
    for group in optimizer.param_groups:
        group["initial_lr"] = learning_rate
    return LambdaLR(optimizer, partial(_factor, decay_at, epochs), finished - 1)


def _factor(decay_at: Sequence[float], epochs: int, finished: int) -> float:
    return float(0.1 ** sum(finished + 1 > fraction * epochs for fraction in decay_at))
