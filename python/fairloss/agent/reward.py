"""The reward of Fair Loss: standardized changes of the inter- and intra-class distances."""

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import as_vector
from fairloss.checks import expect
from fairloss.typing import Float64s

# Distances are angles of order 1 rad in float64 (rounding 1e-16) and the other spread tested is in
# units of a standard deviation: a spread under 1e-12 is rounding, not signal.
ROUNDING = 1e-12


def standardized_change(
    inter_before: npt.ArrayLike,
    inter_after: npt.ArrayLike,
    intra_before: npt.ArrayLike,
    intra_after: npt.ArrayLike,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Float64s:
    """Return (n,) float64: by how much each cell became better separated in its epoch.

    weights[0] * z(d_inter) - weights[1] * z(d_intra), with d = after - before and z the value less
    the mean, divided by the standard deviation, over all n. A term without spread is 0.

    Args:
        inter_before: (n,) distance to the nearest other class, radians.
        inter_after: the same after the epoch.
        intra_before: (n,) distance to the own class center, radians; NaN where a cell has no such
            distance (one image a class), which counts as an average change.
        intra_after: the same after the epoch.
        weights: of the inter- and the intra-class term.

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
    finite = len(weights) == 2 and np.isfinite(weights).all()
    expect(finite, "weights", "two finite numbers", repr(weights))
    combined: Float64s = weights[0] * inter - weights[1] * intra
    return combined


def center_epochs(changes: Float64s, epoch: npt.ArrayLike) -> Float64s:
    """Return the changes less the mean over the cells of the same epoch."""
    label = np.asarray(epoch)
    n = len(changes)
    expect(n > 0 and label.shape == (n,), "epoch", f"shape ({n},) with n > 0", label.shape)
    _, group = np.unique(label, return_inverse=True)
    baseline = np.bincount(group, weights=changes) / np.bincount(group)
    centered: Float64s = changes - baseline[group]
    return centered


def standardized_reward(
    inter_before: npt.ArrayLike,
    inter_after: npt.ArrayLike,
    intra_before: npt.ArrayLike,
    intra_after: npt.ArrayLike,
    epoch: npt.ArrayLike,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Float64s:
    """Return (n,) float64 rewards with mean 0 in every epoch and standard deviation 1 over all.

    The `standardized_change` minus its mean over the cells of the same epoch, divided by its
    standard deviation. That changes in the two distances make the reward is the paper's (Liu et
    al., ICCV 2019); the formula is our choice. The epoch mean removes the drift that comes from
    more training alone: without it any action looks good in a phase where everything improves.

    It also removes what an action does to all cells alike: the rewards of an epoch sum to 0,
    whatever happened in it. An action that helps its own cell by less than it costs all of them
    together looks good. `fairloss.agent.EffectModel` estimates both parts.

    Args:
        inter_before: as the next three, see `standardized_change`.
        inter_after: after the epoch.
        intra_before: before it.
        intra_after: after it.
        epoch: (n,) label of the epoch a cell was measured in. Epochs of different chains need
            different labels.
        weights: of the inter- and the intra-class term.

    The reward is 0 if the epoch means explain all of it.

    Raises:
        ValueError: an input is empty, not finite, or of another length than the rest.
    """
    change = standardized_change(inter_before, inter_after, intra_before, intra_after, weights)
    return _standardized(center_epochs(change, epoch))


def _standardized(values: Float64s) -> Float64s:
    """Return values of mean 0, population standard deviation 1; all 0 where there is no spread."""
    spread = values.std() if values.size else 0.0
    return (values - values.mean()) / spread if spread > ROUNDING else np.zeros_like(values)
