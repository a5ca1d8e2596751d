"""Search spaces: which point is which loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairloss.loss_search.config import SearchSettings
from fairloss.loss_search.gaussian import FloatArray, GaussianSearch


@dataclass(frozen=True)
class Space:
    """P numbers, and what they say to a head.

    Attributes:
        start: (P,) first mean.
        lower: of every number.
        options: point (P,) -> options of the head; each is a buffer of it too.
    """

    start: FloatArray
    lower: float
    options: Callable[[FloatArray], dict[str, Any]]


def space_of(settings: SearchSettings, scale: float) -> Space:
    """The space that `settings` describe, for heads of this scale."""
    if settings.method == "am-lfs":
        return piecewise_linear(settings.intervals)
    return modulating_factor(settings.bins, settings.start, settings.unit, scale)


def modulating_factor(bins: int, start: float, unit: str, scale: float) -> Space:
    """``a <= 0``, one for each bin of p, by ``z >= 0``.

    In the unit "margin" z is the margin of the CosFace that a alone would be, ``a = 1 - e^{s z}``:
    our choice, as the a that make a difference span four decades and a Gaussian does not. In the
    unit "linear" a itself is Gaussian as in the released code, ``a = -z e^{s/3}`` (with several
    bins ``-z e^{s/2}``).
    """
    largest = scale / (3 if bins == 1 else 2)

    def options(point: FloatArray) -> dict[str, Any]:
        a = -np.expm1(scale * point) if unit == "margin" else -point * math.exp(largest)
        # -0.0 would be written as such
        return {"a": float(a[0]) + 0.0 if bins == 1 else [float(value) + 0.0 for value in a]}

    return Space(np.full(bins, start), 0.0, options)


def piecewise_linear(intervals: int) -> Space:
    """AM-LFS: theta = [a of t, b of t, a of tau, b of tau], M each, from the identity."""

    def options(point: FloatArray) -> dict[str, Any]:
        slope_t, offset_t, slope_tau, offset_tau = point.reshape(4, intervals)
        rows = {"t": (slope_t, offset_t), "tau": (slope_tau, offset_tau)}
        return {name: np.stack(columns, axis=1).tolist() for name, columns in rows.items()}

    return Space(np.repeat([1.0, 0.0, 1.0, 0.0], intervals), -np.inf, options)


def search_of(settings: SearchSettings, space: Space, seed: int) -> GaussianSearch:
    """The agent. Random-Softmax draws anew in every round from a Gaussian that never moves."""
    moves = settings.method != "random-softmax"
    rate = settings.learning_rate if moves else 0.0
    return GaussianSearch(space.start, settings.sigma, rate, lower=space.lower, seed=seed)
