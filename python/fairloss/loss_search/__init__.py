"""Loss function search: the space that margin losses share, and three methods to search it."""

from fairloss.loss_search.config import SearchConfig, SearchSettings
from fairloss.loss_search.gaussian import GaussianSearch
from fairloss.loss_search.modulation import (
    factor,
    factor_of_margin,
    factor_of_modulation,
    log_modulated,
    log_odds_shift,
    margin_of_factor,
    modulation,
)
from fairloss.loss_search.processes import ProcessMap, RayMap
from fairloss.loss_search.search import load_head, search
from fairloss.loss_search.space import Space, modulating_factor, piecewise_linear, space_of

__all__ = [
    "GaussianSearch",
    "ProcessMap",
    "RayMap",
    "SearchConfig",
    "SearchSettings",
    "Space",
    "factor",
    "factor_of_margin",
    "factor_of_modulation",
    "load_head",
    "log_modulated",
    "log_odds_shift",
    "margin_of_factor",
    "modulating_factor",
    "modulation",
    "piecewise_linear",
    "search",
    "space_of",
]
