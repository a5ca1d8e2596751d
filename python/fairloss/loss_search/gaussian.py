"""The search's agent: a Gaussian of fixed width whose mean follows the rewards."""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_number, check_positive, expect
from fairloss.typing import Float64s

# Rewards are areas and rates of order 1 in float64: a spread below this is rounding error.
_ROUNDING = 1e-12
_NORMAL = NormalDist()


class GaussianSearch:
    """REINFORCE on the mean of ``N(mean, sigma^2)``, cut off below `lower`.

    After each round ``mean += learning_rate sigma^2 (1/B) sum_i R_i grad ln g(point_i)``, with the
    rewards R normalized to mean 0 and standard deviation 1 over the population (Li et al., AM-LFS,
    ICCV 2019; Wang et al., ICML 2020). sigma^2 is the inverse of the Gaussian's Fisher information,
    so that a learning rate means the same for every sigma. A round moves the mean by at most
    ``learning_rate`` times the root mean square distance of its points from it (Cauchy-Schwarz).

    g is the density of the points as they were used. Those below `lower` are drawn again, which
    divides the Gaussian by the mass that is left. In ``grad ln g = (point - mean) / sigma^2 - c``
    that is a term c which is the same for all points, and as the R_i sum to 0 it drops out.

    Args:
        start: (P,) first mean.
        sigma: standard deviation, the same for all P, constant.
        learning_rate: 0 keeps the mean constant.
        lower: smallest value of points and mean.
        seed: of the draws; those of a round depend on (seed, round, mean) alone.

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
        self.mean: Float64s = np.array(start, dtype=np.float64)
        in_range = self.mean.ndim == 1 and (self.mean >= lower).all()
        expect(in_range, "start", f"(P,) numbers of at least {lower}", repr(start))
        check_positive("sigma", sigma)
        check_number("learning_rate", learning_rate, 0)
        self.sigma, self.learning_rate, self.lower, self.seed = sigma, learning_rate, lower, seed

    def sample(self, population: int, round: int) -> Float64s:
        """Draw the (B, P) points of a round."""
        random = np.random.default_rng([self.seed, round])
        points = random.normal(self.mean, self.sigma, (population, len(self.mean)))
        while (outside := points < self.lower).any():  # at most half, as mean >= lower
            points = np.where(outside, random.normal(self.mean, self.sigma, points.shape), points)
        return points

    def update(self, points: Float64s, rewards: npt.ArrayLike) -> None:
        """Update the mean from the (B, P) points of a round and their (B,) rewards."""
        step = self.learning_rate * (normalize(rewards) @ (points - self.mean)) / len(points)
        self.mean = np.maximum(self.mean + step, self.lower)

    def expected(self) -> Float64s:
        """Compute the (P,) mean of the points, above `mean` where `lower` cuts the Gaussian off."""
        cut = (self.lower - self.mean) / self.sigma
        density = np.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi)
        mass = np.array([1 - _NORMAL.cdf(value) for value in cut])
        expected: Float64s = self.mean + self.sigma * density / mass
        return expected


def normalize(rewards: npt.ArrayLike) -> Float64s:
    """Scale (B,) rewards to mean 0 and standard deviation 1; all 0 where they are equal."""
    values = np.asarray(rewards, dtype=np.float64)
    is_finite = values.ndim == 1 and np.isfinite(values).all()
    expect(is_finite, "rewards", "(B,) finite numbers", repr(rewards))
    spread = values.std()
    return (values - values.mean()) / spread if spread > _ROUNDING else np.zeros_like(values)
