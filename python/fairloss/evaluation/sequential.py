"""Looks at an experiment before its end that keep its error rate: O'Brien-Fleming spending."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairloss.checks import check_choice, check_number, expect
from fairloss.evaluation.compare_extra import import_extra
from fairloss.typing import Float64s

NODES = 200  # of the Gauss-Legendre rule: bounds are right to about 1e-9
REACH = 9.0  # standard deviations where a density is cut: 1e-19 lies beyond
HIGHEST = 38.0  # bound of a look that spends less than 1e-315, as nothing exceeds it


@dataclass(frozen=True)
class Looks:
    """The tests at the looks of a group-sequential experiment.

    Attributes:
        fractions: shares of the observations at each look, the last is 1.
        bounds: a normal statistic that exceeds it (in size, if two-sided) ends the experiment.
        levels: the same as p values: stop where the p value of the look is at most this. With few
            observations apply them to the p value of a t test.
    """

    fractions: tuple[float, ...]
    bounds: tuple[float, ...]
    levels: tuple[float, ...]


def obrien_fleming(fractions: Sequence[float], alpha: float = 0.05, sides: int = 2) -> Looks:
    """Compute the bounds of looks that spend `alpha` as O'Brien and Fleming do.

    Until the share t of the observations a test of one side has spent 2 - 2 Phi(z(a / 2) / sqrt(t))
    of its a (Lan and DeMets, Biometrika 1983); with two sides each spends alpha / 2. The number of
    looks and their times may be chosen as the experiment proceeds, but not by its results.

    Args:
        fractions: ascending shares of the observations, the last is 1: 8/12 and 1 for looks after
            8 and 12 seeds.
        alpha: probability that any look rejects where there is no difference.
        sides: 2, or 1 where only one sign counts, as in each half of an equivalence test.

    Raises:
        ValueError: a value is outside its range.
        ImportError: scipy is missing.
    """
    times = np.asarray(fractions, dtype=np.float64)
    ascending = times.ndim == 1 and times.size and times[0] > 0 and (np.diff(times) > 0).all()
    expect(ascending and times[-1] == 1, "fractions", "ascending shares that end in 1", fractions)
    check_number("alpha", alpha, 0, 1, open_low=True, open_high=True)
    check_choice("sides", sides, (1, 2))
    special, optimize = import_extra("scipy.special"), import_extra("scipy.optimize")
    spent = 2 * special.ndtr(special.ndtri(alpha / sides / 2) / np.sqrt(times))
    # After a look at time t the statistic times sqrt(t) is a sum with variance t. `mass` is the
    # probability, at the nodes of a quadrature, of the sums that have not stopped.
    nodes, mass, before = np.zeros(1), np.ones(1), 0.0
    bounds: list[float] = []
    for time, level in zip(times, np.diff(spent, prepend=0.0), strict=True):
        deviation, reach = np.sqrt(time - before), REACH * np.sqrt(time)
        limit = HIGHEST * np.sqrt(time)
        arguments = (nodes, mass, deviation, level)
        if _excess(limit, *arguments) < 0:
            limit = optimize.brentq(_excess, -reach, limit, arguments, 1e-12)
        bounds.append(float(limit / np.sqrt(time)))
        high = min(limit, reach)
        points, weights = _quadrature(-high if sides == 2 else -reach, high)
        gaps = (points[:, None] - nodes) / deviation
        density = np.exp(-(gaps**2) / 2) @ mass / (deviation * np.sqrt(2 * np.pi))
        nodes, mass, before = points, density * weights, time
    levels = sides * special.ndtr(-np.asarray(bounds))
    return Looks(tuple(times.tolist()), tuple(bounds), tuple(levels.tolist()))


def _excess(limit: float, nodes: Float64s, mass: Float64s, deviation: float, level: float) -> float:
    """Return the probability that the next sum first exceeds `limit`, less `level`."""
    special = import_extra("scipy.special")
    return float(mass @ special.ndtr((nodes - limit) / deviation)) - level


def _quadrature(low: float, high: float) -> tuple[Float64s, Float64s]:
    """Return nodes and weights of the Gauss-Legendre rule."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2
