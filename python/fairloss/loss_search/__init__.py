"""Loss function search: the space that margin losses share, and three ways to search it."""

from __future__ import annotations

from fairloss.loss_search.modulation import (
    factor,
    factor_of_margin,
    factor_of_modulation,
    log_modulated,
    log_odds_shift,
    margin_of_factor,
    modulation,
)

__all__ = [
    "factor",
    "factor_of_margin",
    "factor_of_modulation",
    "log_modulated",
    "log_odds_shift",
    "margin_of_factor",
    "modulation",
]
