"""The oracle of a comparison of several networks a side: the reports of the single networks."""

from __future__ import annotations

import numpy as np
import pytest


def numbers(report, keys=()):
    """Yield the keys and the interval of each number of a report."""
    for key, value in report.items():
        if isinstance(value, dict) and "low" in value:
            yield (*keys, key), value
        elif isinstance(value, dict):
            yield from numbers(value, (*keys, key))


def assert_difference_of_means(report, a, b):
    """Each difference is the mean of the reports of `b` less that of `a`."""
    sides = [[dict(numbers(network)) for network in side] for side in (a, b)]
    differences = dict(numbers(report["difference"]))
    assert differences.keys() == set.intersection(*(set(n) for side in sides for n in side))
    for keys, gain in differences.items():
        means = [np.mean([network[keys]["value"] for network in side]) for side in sides]
        assert gain["value"] == pytest.approx(means[1] - means[0], abs=1e-12), keys
        assert "bootstrap" not in gain
