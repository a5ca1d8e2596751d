"""Metrics of a run against a count of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from fairloss.experiments import METRICS, verify


def test_the_mean_tar_is_over_thirteen_fars_from_1e_5_to_1e_3():
    generator = np.random.default_rng(0)
    identities = np.arange(150).repeat(3)
    embeddings = generator.normal(size=(150, 8)).repeat(3, axis=0)
    embeddings += 0.5 * generator.normal(size=embeddings.shape)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(unit), 1)
    scores = (unit[first] * unit[second]).sum(axis=1)
    genuine = identities[first] == identities[second]
    impostors = np.sort(scores[~genuine])[::-1]
    tars = []
    for sixth in range(13):
        accepted = int(10 ** (-5 + sixth / 6) * len(impostors) + 1e-6)
        tars.append((scores[genuine] > impostors[accepted]).mean())
    metrics = verify(embeddings, identities)
    assert list(metrics) == list(METRICS)
    assert 0.01 < tars[0] < tars[-1] < 0.99
    assert metrics["mean_tar"] == pytest.approx(np.mean(tars), abs=1e-12)
    assert metrics["tar_1e-4"] == pytest.approx(tars[6], abs=1e-12)
    assert metrics["tar_1e-3"] == pytest.approx(tars[12], abs=1e-12)


def test_a_metric_without_enough_impostors_says_so():
    generator = np.random.default_rng(0)
    metrics = verify(generator.normal(size=(60, 4)), np.arange(20).repeat(3))
    assert metrics["mean_tar"] == metrics["tar_1e-4"] == "not measurable with 1710 impostors"
    assert isinstance(metrics["tar_1e-3"], float)
