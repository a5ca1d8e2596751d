"""The interval of models that agree on all observations."""

from __future__ import annotations

from scipy import stats


def largest_share(number, identities):
    """Return Wilson's upper end, at 95%, of a share of 0 of `number`, with a t quantile."""
    square = stats.t.ppf(0.975, identities - 1) ** 2
    return square / (number + square)
