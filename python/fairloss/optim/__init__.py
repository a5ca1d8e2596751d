"""An optimizer for row-sparse gradients, and the schedule of the learning rate."""

from fairloss.optim.row_sgd import RowSGD
from fairloss.optim.schedule import step_schedule

__all__ = ["RowSGD", "step_schedule"]
