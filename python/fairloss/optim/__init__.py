"""Optimisers for weights of which a step touches a few rows only."""

from __future__ import annotations

from fairloss.optim.row_sgd import RowSGD

__all__ = ["RowSGD"]
