"""The learning rate of every epoch, by torch's schedulers."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from fairloss.training.config import OptimizerConfig


def step_schedule(
    optimizer: Optimizer, config: OptimizerConfig, epochs: int, finished: int = 0
) -> LambdaLR:
    """Return a scheduler that divides the rate by 10 after each fraction `config.decay_at`.

    Args:
        optimizer: its rate is set to that of the next epoch.
        config: the first rate, and the fractions.
        epochs: of the whole run.
        finished: epochs that are done; `step()` counts one more.
    """
    for group in optimizer.param_groups:
        group["initial_lr"] = config.learning_rate

    def factor(finished: int) -> float:
        return 0.1 ** sum(finished + 1 > fraction * epochs for fraction in config.decay_at)

    return LambdaLR(optimizer, factor, finished - 1)
