"""The search's agent: a Gaussian of fixed width whose mean follows the rewards."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Rewards are areas and rates of order 1 in float64: a spread under this is rounding, not signal.
_ROUNDING = 1e-12
_NORMAL = NormalDist()


class GaussianSearch:
    """REINFORCE on the mean of ``N(mean, sigma^2)``, cut off below `lower`.

    After each round ``mean += learning_rate sigma^2 (1/B) sum_i R_i grad ln g(point_i)``, with the
    rewards R normalised to mean 0 and standard deviation 1 over the population (Li et al., AM-LFS,
    ICCV 2019; Wang et al., ICML 2020). sigma^2 is the inverse of the Gaussian's Fisher information:
    so a learning rate means the same for every sigma, and moves the mean by at most about
    ``learning_rate`` sigmas in a round.

    g is the density of the points as they were used. Those below `lower` are drawn again, which
    divides the Gaussian by the mass that is left. In ``grad ln g = (point - mean) / sigma^2 - c``
    that is a term c which is the same for all points, and as the R_i sum to 0 it drops out.

    Args:
        start: (P,) first mean.
        sigma: standard deviation, the same for all P, never moved.
        learning_rate: 0 leaves the mean where it is.
        lower: of points and mean.
        seed: of the draws; a round's depend on (seed, round, mean) alone.

    Attributes:
        mean: (P,).
    """

    def __init__(
        self,
        start: npt.ArrayLike,
        sigma: float,
        learning_rate: float,
        *,
        lower: float = -np.inf,
        seed: int = 0,
    ) -> None:
        self.mean: FloatArray = np.array(start, dtype=np.float64)
        if self.mean.ndim != 1 or not (self.mean >= lower).all():
            raise ValueError(f"start: got {start!r}, expected (P,) numbers of at least {lower}")
        if not sigma > 0:
            raise ValueError(f"sigma: got {sigma}, expected a positive number")
        if not learning_rate >= 0:
            raise ValueError(f"learning_rate: got {learning_rate}, expected 0 or more")
        self.sigma, self.learning_rate, self.lower, self.seed = sigma, learning_rate, lower, seed

    def sample(self, population: int, round: int) -> FloatArray:
        """(B, P) points of the given round."""
        random = np.random.default_rng([self.seed, round])
        points = random.normal(self.mean, self.sigma, (population, len(self.mean)))
        while (outside := points < self.lower).any():  # at most half, as mean >= lower
            points = np.where(outside, random.normal(self.mean, self.sigma, points.shape), points)
        return points

    def update(self, points: FloatArray, rewards: npt.ArrayLike) -> None:
        """Move the mean by what the (B, P) points of a round earned, (B,)."""
        normalised = normalise(rewards)
        step = self.learning_rate * (normalised @ (points - self.mean)) / len(points)
        self.mean = np.maximum(self.mean + step, self.lower)

    def expected(self) -> FloatArray:
        """(P,) mean of the points: that of the Gaussian, and more where `lower` cuts into it."""
        cut = (self.lower - self.mean) / self.sigma
        density = np.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
        left = np.array([1 - _NORMAL.cdf(value) for value in cut])
        shifted: FloatArray = self.mean + self.sigma * density / left
        return shifted


def normalise(rewards: npt.ArrayLike) -> FloatArray:
    """(B,) with mean 0 and standard deviation 1; all 0 where they are equal, or only one."""
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"rewards: got {rewards!r}, expected (B,) finite numbers")
    spread = values.std()
    return (values - values.mean()) / spread if spread > _ROUNDING else np.zeros_like(values)
