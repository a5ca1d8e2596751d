"""The effect of an action on its own cell, and that of the mean action on all cells."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fairloss.agent.grid import ACTIONS, KEEP, MarginGrid, as_indices, as_vector
from fairloss.agent.state import BINS, num_states
from fairloss.checks import check_shape, expect
from fairloss.typing import Float64s, Ints


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects of one grid step up, in the unit of the changes that they were estimated from.

    Attributes:
        steps: (9, M - 1) own effect of the step from margin j to j + 1 in each group of classes;
            `own` where the data do not determine it.
        own: mean of `steps` over the classes that took them.
        own_error: its standard error.
        common: change of every cell when the mean action of all classes is one step up.
        common_error: its standard error. All five are NaN where the data leave no residual to
            estimate an error from.
    """

    steps: Float64s
    own: float
    own_error: float
    common: float
    common_error: float


class EffectModel:
    """A linear model of the changes of n cells: effects of states, steps and epochs.

    The change of a cell in an epoch is the sum of

    - the effect of its state, or of the cell where the epoch has several branches with it,
    - the own effect of its action: d[g, j] for raising from margin j to j + 1 in group g (count
      bin x variance bin), -d[g, j] for lowering from j + 1 to j, and 0 for keeping,
    - the effect of the epoch, the same for all cells, and noise.

    A branch counts as an epoch of its own. The effect of an epoch, in turn, is the sum of

    - a quadratic trend of the chain (drift by more training), and an effect of the network that
      its branches start from where it has several,
    - a common effect times the mean action of all classes in grid steps,
    - an effect of their mean margin before the epoch, and noise that all cells of the epoch share.

    The mean margin is there because margins that were raised before must be lowered sooner or
    later: without it the common effect of a margin in use, rather than of its change, is
    underestimated by half.

    Both regressions are least squares weighted by classes and by nothing. Means are over classes,
    as an epoch's objective is the mean change of a class: if each of N classes is raised, each
    contributes common / N to all N, so the share of one class is `common`, whatever the others do.

    Assumptions: effects add up; a step up and the same step down cancel; the common effect is the
    same for all cells and levels of the margins; the noise of epochs is independent.

    Args:
        state: (n,) before the epoch.
        action: (n,) index into ACTIONS.
        classes: (n,) number of classes of each cell.
        chain: (n,) label of the chain.
        epoch: (n,) number of the epoch in its chain.
        mean_action: (n,) mean over all classes in that epoch, in grid steps.
        mean_margin: (n,) mean margin of all classes before it.
        grid: the margins.
        branch: (n,) of the epoch; default one each. Branches start from the same network.
    """

    def __init__(
        self,
        state: npt.ArrayLike,
        action: npt.ArrayLike,
        classes: npt.ArrayLike,
        chain: npt.ArrayLike,
        epoch: npt.ArrayLike,
        mean_action: npt.ArrayLike,
        mean_margin: npt.ArrayLike,
        grid: MarginGrid,
        branch: npt.ArrayLike | None = None,
    ) -> None:
        states = as_indices("state", state, num_states(grid))
        n, self._shape = len(states), (BINS * BINS, len(grid) - 1)
        self._moves = as_indices("action", action, len(ACTIONS)) - KEEP
        weights = as_vector("classes", classes, n)
        labels, times = as_vector("chain", chain, n), as_vector("epoch", epoch, n)
        means = [as_vector("mean_action", mean_action, n), as_vector("mean_margin", mean_margin, n)]
        check_shape("action", self._moves, n)
        expect((weights > 0).all(), "classes", "numbers above 0", weights.min(initial=1))
        group, margin = np.divmod(states, len(grid))
        # The step between margins j and j + 1 is j, in both directions.
        self._step = group * self._shape[1] + margin + np.minimum(self._moves, 0)
        self._step[self._moves == 0] = 0
        branches = np.zeros(n) if branch is None else as_vector("branch", branch, n)
        pairs = np.stack([labels, times, branches])
        _, first, inverse = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
        epochs = inverse.reshape(-1)
        crossings = _columns(self._step, self._shape[0] * self._shape[1]) * self._moves[:, None]
        self._taken = weights @ np.abs(crossings)
        starts = branched_epochs(labels[first], times[first])[epochs]
        _, inverse = np.unique(np.stack([states, starts]), axis=1, return_inverse=True)
        bases = _columns(inverse.reshape(-1), int(inverse.max(initial=-1)) + 1)
        self._first_epoch = bases.shape[1] + self._taken.size
        parts = [bases, crossings, _columns(epochs, len(first))]
        self._cells = _LeastSquares(np.hstack(parts), weights)
        trends = chain_trends(labels[first], times[first])
        design = np.column_stack([values[first] for values in means] + [trends])
        self._means = _LeastSquares(design, np.ones(len(first)))

    def fit(self, changes: Float64s) -> Effects:
        """Return the effects that (n,) changes show."""
        cells = self._cells.fit(changes)
        rows = slice(self._first_epoch - self._taken.size, self._first_epoch)
        determined = self._cells.determined[rows]
        share = np.where(determined, self._taken, 0.0)
        if share.sum() == 0 or self._cells.freedom <= 0:
            return Effects(np.full(self._shape, np.nan), *[np.nan] * 4)
        share /= share.sum()
        steps = cells.coefficients[rows]
        average = float(share @ steps)
        average_error = float(np.sqrt(share @ cells.covariance[rows, rows] @ share))
        steps = np.where(determined, steps, average).reshape(self._shape)
        common, common_error = np.nan, np.nan
        if self._means.determined[0] and self._means.freedom > 0:
            epochs = self._means.fit(cells.coefficients[self._first_epoch :])
            common = float(epochs.coefficients[0])
            # The regression over epochs yields their sum: errors of the own effect carry over.
            common_error = float(np.hypot(np.sqrt(epochs.covariance[0, 0]), average_error))
        return Effects(steps, average, average_error, common, common_error)

    def reward(self, changes: Float64s) -> Float64s:
        """Return (n,) the own effect of each action plus its share of the common effect.

        0 for keeping. In the unit of the changes.

        Raises:
            ValueError: the data do not determine the effects.
        """
        effects = self.fit(changes)
        total = effects.steps.reshape(-1)[self._step] + effects.common
        expected = "more epochs, for the common effect and a trend of each chain"
        got = f"{len(self._means.weights)} epochs"
        expect(bool(np.isfinite(total).all()), "epoch", expected, got)
        reward: Float64s = self._moves * total
        return reward


@dataclass(frozen=True, eq=False)
class _Solution:
    coefficients: Float64s
    covariance: Float64s


class _LeastSquares:
    """Weighted least squares, of minimal norm where coefficients are not determined."""

    def __init__(self, design: Float64s, weights: Float64s) -> None:
        self.design, self.weights = design, weights
        weighted = design.T * weights
        gram = weighted @ design
        self.inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
        self.solution = self.inverse @ weighted
        resolution = np.einsum("ij,ji->i", self.inverse, gram)
        # A projection has 1 on its diagonal for the coefficients that the data determine.
        self.determined = np.abs(resolution - 1) < 1e-6
        self.freedom = len(design) - round(float(resolution.sum()))

    def fit(self, values: Float64s) -> _Solution:
        coefficients = self.solution @ values
        residual = values - self.design @ coefficients
        covariance = self.inverse * (self.weights @ residual**2 / max(self.freedom, 1))
        return _Solution(coefficients, covariance)


def _columns(index: Ints, size: int) -> Float64s:
    """Return (n, size) with a 1 in each row."""
    return np.eye(size)[index]


def branched_epochs(chain: npt.ArrayLike, epoch: npt.ArrayLike) -> Ints:
    """Return (n,) labels from 0 of the epochs that occur several times, as branches; else -1."""
    pairs = np.stack([np.asarray(chain), np.asarray(epoch)])
    _, inverse, counts = np.unique(pairs, axis=1, return_inverse=True, return_counts=True)
    several = counts > 1
    labels: Ints = np.where(several, np.cumsum(several) - 1, -1)[inverse.reshape(-1)]
    return labels


def chain_trends(chain: npt.ArrayLike, epoch: npt.ArrayLike) -> Float64s:
    """Return columns of what epochs share whatever their actions are.

    They are a constant, a linear and a quadratic one for each chain, and one for each epoch that
    has several branches.
    """
    labels, times = np.asarray(chain), np.asarray(epoch, dtype=np.float64)
    columns = []
    for label in np.unique(labels):
        inside = labels == label
        middle, half = np.mean(times[inside]), max(np.ptp(times[inside]) / 2, 1.0)
        columns += [inside * ((times - middle) / half) ** power for power in range(3)]
    branched = branched_epochs(chain, epoch)
    columns += [branched == label for label in range(branched.max(initial=-1) + 1)]
    return np.column_stack(columns).astype(np.float64)
