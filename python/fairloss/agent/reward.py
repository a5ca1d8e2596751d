"""The reward of Fair Loss: standardized changes of the inter- and intra-class distances."""

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import as_vector
from fairloss.checks import expect
from fairloss.typing import Float64s

# Distances are angles of order 1 rad in float64 (rounding 1e-16) and the other spread tested is in
# units of a standard deviation: a spread under 1e-12 is rounding, not signal.
ROUNDING = 1e-12


def standardized_reward(
    inter_before: npt.ArrayLike,
    inter_after: npt.ArrayLike,
    intra_before: npt.ArrayLike,
    intra_after: npt.ArrayLike,
    epoch: npt.ArrayLike,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Float64s:
    """Return (n,) float64 rewards with mean 0 in every epoch and standard deviation 1 over all.

    r = weights[0] * d_inter / std(d_inter) - weights[1] * d_intra / std(d_intra), with d = after -
    before; then minus the mean over the cells of the same epoch, then divided by its own std. That
    changes in the two distances make the reward is the paper's (Liu et al., ICCV 2019); the formula
    is our choice. The epoch mean removes the drift that comes from more training alone: without it
    any action looks good in a phase where everything improves.

    Args:
        inter_before: (n,) distance to the nearest other class, radians.
        inter_after: the same after the epoch.
        intra_before: (n,) distance to the own class center, radians; NaN where a cell has no such
            distance (one image a class), which counts as an average change.
        intra_after: the same after the epoch.
        epoch: (n,) label of the epoch a cell was measured in. Epochs of different chains need
            different labels.
        weights: of the inter- and the intra-class term.

    A term without spread is 0, and so is the reward if the epoch means explain all of it.

    Raises:
        ValueError: an input is empty, not finite, or of another length than the rest.
    """
    n = np.asarray(inter_before).size
    before = as_vector("inter_before", inter_before, n)
    inter = _standardized(as_vector("inter_after", inter_after, n) - before)
    before = as_vector("intra_before", intra_before, n, undefined=True)
    change = as_vector("intra_after", intra_after, n, undefined=True) - before
    defined = ~np.isnan(change)
    intra = np.zeros(n)
    intra[defined] = _standardized(change[defined])
    label = np.asarray(epoch)
    expect(n > 0 and label.shape == (n,), "epoch", f"shape ({n},) with n > 0", label.shape)
    finite = len(weights) == 2 and np.isfinite(weights).all()
    expect(finite, "weights", "two finite numbers", repr(weights))
    reward = weights[0] * inter - weights[1] * intra
    _, group = np.unique(label, return_inverse=True)
    baseline = np.bincount(group, weights=reward) / np.bincount(group)
    return _standardized(reward - baseline[group])


def _standardized(values: Float64s) -> Float64s:
    """Return values of mean 0, population standard deviation 1; all 0 where there is no spread."""
    spread = values.std() if values.size else 0.0
    return (values - values.mean()) / spread if spread > ROUNDING else np.zeros_like(values)
