"""Optimizers for weights of which a step updates a few rows."""

from fairloss.optim.row_sgd import RowSGD

__all__ = ["RowSGD"]
