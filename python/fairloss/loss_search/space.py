"""Search spaces: maps from points to losses."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairloss.loss_search.config import RANDOM, SearchSettings
from fairloss.loss_search.gaussian import GaussianSearch
from fairloss.typing import Float64s

MAX_SHIFT = 80.0  # of log-odds, ln(1 - a)


@dataclass(frozen=True)
class Space:
    """Points of P numbers, and the options of a head that each stands for.

    Attributes:
        start: (P,) first mean.
        lower: smallest value of every number.
        options: point (P,) -> options of the head; each is a buffer of it too.
    """

    start: Float64s
    lower: float
    options: Callable[[Float64s], dict[str, Any]]


def space_of(settings: SearchSettings, scale: float) -> Space:
    """Return the space that `settings` describe, for heads of this scale."""
    if settings.method == "am-lfs":
        return piecewise_linear(settings.intervals)
    return modulating_factor(settings.bins, settings.start, settings.unit, scale)


def modulating_factor(bins: int, start: float, unit: str, scale: float) -> Space:
    """Return the space of ``a <= 0``, one for each bin of p, in terms of ``z >= 0``.

    In the unit "margin" z is the margin of the CosFace that a alone would be, ``a = 1 - e^{s z}``:
    our choice, as the a of interest span four decades and a Gaussian does not. In the unit
    "linear" a itself is Gaussian as in the released code, ``a = -z e^{s/3}`` (with several bins
    ``-z e^{s/2}``). 1 - a is at most e^80, a margin of 80 / s: a head keeps a in float32, which
    overflows at e^88.
    """
    unit_of_a = math.exp(min(scale / (3 if bins == 1 else 2), MAX_SHIFT))

    def options(point: Float64s) -> dict[str, Any]:
        of_margin = -np.expm1(np.minimum(scale * point, MAX_SHIFT))
        a = of_margin if unit == "margin" else -point * unit_of_a
        a = np.maximum(a, -math.expm1(MAX_SHIFT))
        # Adding 0.0 makes 0.0 of -0.0, which would be written as such.
        return {"a": float(a[0]) + 0.0 if bins == 1 else [float(value) + 0.0 for value in a]}

    return Space(np.full(bins, start), 0.0, options)


def piecewise_linear(intervals: int) -> Space:
    """Return the space of AM-LFS: [a of t, b of t, a of tau, b of tau], M of each."""

    def options(point: Float64s) -> dict[str, Any]:
        slope_t, offset_t, slope_tau, offset_tau = point.reshape(4, intervals)
        rows = {"t": (slope_t, offset_t), "tau": (slope_tau, offset_tau)}
        return {name: np.stack(columns, axis=1).tolist() for name, columns in rows.items()}

    return Space(np.repeat([1.0, 0.0, 1.0, 0.0], intervals), -np.inf, options)


def search_of(settings: SearchSettings, space: Space, seed: int) -> GaussianSearch:
    """Return the agent; that of Random-Softmax draws from a constant Gaussian."""
    rate = 0.0 if settings.method == RANDOM else settings.learning_rate
    return GaussianSearch(space.start, settings.sigma, rate, lower=space.lower, seed=seed)
