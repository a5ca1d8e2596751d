"""The agent on problems with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fairloss.heads import AMLFS, SearchSoftmax
from fairloss.heads.am_lfs import line_at
from fairloss.loss_search import (
    GaussianSearch,
    SearchSettings,
    margin_of_factor,
    modulating_factor,
    piecewise_linear,
    space_of,
)
from fairloss.loss_search.gaussian import normalize
from fairloss.loss_search.space import search_of

SCALE = 32.0


def run(agent, rounds, population, reward):
    for number in range(1, rounds + 1):
        points = agent.sample(population, number)
        agent.update(points, [reward(point) for point in points])
    return agent


def agent_of(settings, seed):
    return search_of(settings, space_of(settings, SCALE), seed)


@pytest.mark.parametrize(
    ("unit", "planted"), [("margin", -3000.0), ("margin", -80000.0), ("linear", -15000.0)]
)
def test_search_softmax_finds_a_planted_a_within_30_rounds(unit, planted):
    """From plain softmax, with 4 models a round; a reward falls with the distance in the unit."""
    settings = SearchSettings(unit=unit, start=0.0)
    space = space_of(settings, SCALE)

    def margin(a):
        in_margins = float(margin_of_factor(a, SCALE))
        return in_margins if unit == "margin" else -a / math.exp(SCALE / 3)

    errors = []
    for seed in range(20):
        agent = agent_of(settings, seed)
        run(agent, 30, 4, lambda z: -abs(margin(space.options(z)["a"]) - margin(planted)))
        errors.append(abs(agent.mean[0] - margin(planted)))
    assert margin(planted) > 2 * settings.sigma
    assert max(errors) < settings.sigma
    assert np.median(errors) < settings.sigma / 3


def test_each_bin_finds_its_own_a():
    settings = SearchSettings(bins=5, population=8)
    planted = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    for seed in range(20):
        agent = run(agent_of(settings, seed), 60, 8, lambda z: -((z - planted) ** 2).sum())
        np.testing.assert_allclose(agent.expected(), planted, atol=settings.sigma)


def test_am_lfs_recovers_a_planted_piecewise_linear_transform():
    planted = {
        "t": [[0.6, -0.8], [1.4, 0.2], [0.8, 0.5]],
        "tau": [[1.3, 0.2], [0.7, 0.4], [1.2, -0.5]],
    }
    grids = {"t": np.linspace(-1, 1, 32), "tau": np.linspace(0, 1, 32)}

    def values(rows, x):  # (M, 2) at every x
        k = np.minimum(((x - x[0]) / (x[-1] - x[0]) * len(rows)).astype(int), len(rows) - 1)
        return np.array(rows)[k, 0] * x + np.array(rows)[k, 1]

    def curves(options):
        return np.concatenate([values(options[name], grids[name]) for name in grids])

    space, expected = piecewise_linear(3), curves(planted)
    to_curves = np.stack([curves(space.options(unit)) for unit in np.eye(12)], axis=1)  # linear
    assert np.abs(to_curves @ space.start - expected).max() > 0.35
    for seed in range(5):
        agent = GaussianSearch(space.start, 0.05, 0.3, seed=seed)
        for number in range(1, 801):
            points = agent.sample(32, number)
            agent.update(points, -np.square(points @ to_curves.T - expected).mean(axis=1))
        result = space.options(agent.mean)
        assert np.abs(curves(result) - expected).max() < 0.06
        head = AMLFS(3, 4, **result)  # and the head computes that very transform
        x = torch.from_numpy(grids["t"]).float()
        slope, offset = line_at(head.t, x, -1, 1)
        np.testing.assert_allclose(slope * x + offset, values(result["t"], grids["t"]), atol=1e-5)


def test_at_learning_rate_0_the_mean_stays_exactly_and_else_it_moves_from_0():
    """The released code passes its first mean through a ReLU at 0, where it cannot move."""
    for rate in (0.0, 0.3):
        agent = GaussianSearch([0.0], 0.1, rate, lower=0.0)
        for number in range(1, 6):
            points = agent.sample(4, number)
            assert (points >= 0).all()
            agent.update(points, points[:, 0])
        assert (agent.mean[0] > 0.05) == (rate > 0)
        assert (agent.mean[0] == 0.0) == (rate == 0)


def test_random_softmax_never_moves():
    agent = agent_of(SearchSettings(method="random-softmax"), seed=1)
    run(agent, 5, 4, lambda z: z[0])
    assert agent.mean.tolist() == [0.2]
    assert len({agent.sample(1, number)[0, 0] for number in range(20)}) == 20


def test_the_step_is_the_gradient_of_the_density_that_was_drawn_from():
    """Against torch's derivative of ln of the cut-off Gaussian, its mass included."""
    agent = GaussianSearch([0.05, 0.3], 0.1, 0.5, lower=0.0, seed=4)
    before = agent.mean.copy()
    points = agent.sample(6, 1)
    rewards = np.array([0.1, 0.9, 0.3, 0.5, 0.2, 0.2])
    agent.update(points, rewards)
    mean = torch.tensor(before, requires_grad=True)
    gaussian = torch.distributions.Normal(mean, 0.1)
    log_density = gaussian.log_prob(torch.tensor(points)) - torch.log(
        1 - gaussian.cdf(torch.zeros(2))
    )
    normalized = torch.tensor((rewards - rewards.mean()) / rewards.std())
    (normalized * log_density.sum(dim=1)).mean().backward()
    np.testing.assert_allclose(agent.mean - before, 0.5 * 0.1**2 * mean.grad, rtol=1e-9)


def test_points_follow_the_cut_off_gaussian():
    agent = GaussianSearch([0.05], 0.1, 0.0, lower=0.0)
    points = agent.sample(20_000, 1)
    assert points.min() >= 0
    kept = np.random.default_rng(1).normal(0.05, 0.1, 100_000)
    expected = kept[kept >= 0].mean()
    assert points.mean() == pytest.approx(expected, abs=0.003)
    assert agent.expected()[0] == pytest.approx(expected, abs=0.002)
    assert GaussianSearch([0.05], 0.1, 0.0).expected().tolist() == [0.05]
    again = GaussianSearch([0.05], 0.1, 0.0, lower=0.0)
    np.testing.assert_array_equal(again.sample(20_000, 1), points)
    assert not np.array_equal(again.sample(20_000, 2), points)


def test_rewards_are_normalized():
    assert normalize([0.5, 0.7, 0.9]).tolist() == pytest.approx(
        [-math.sqrt(1.5), 0, math.sqrt(1.5)]
    )
    assert normalize([0.3, 0.3]).tolist() == [0, 0]
    assert normalize([0.3]).tolist() == [0]
    with pytest.raises(ValueError, match="rewards: expected .* got"):
        normalize([0.3, math.nan])


def test_points_become_losses():
    margin = modulating_factor(1, 0.2, "margin", 32.0)
    assert margin.options(np.array([0.35]))["a"] == pytest.approx(-73129, abs=1)
    assert str(margin.options(np.array([0.0]))["a"]) == "0.0"
    linear = modulating_factor(1, 0.2, "linear", 32.0)
    a = linear.options(np.array([0.2]))["a"]
    assert float(margin_of_factor(a, 32.0)) == pytest.approx(0.283, abs=5e-4)  # the released code's
    local = modulating_factor(3, 0.2, "linear", 32.0)
    assert local.options(np.array([0.0, 1.0, 2.0]))["a"] == pytest.approx(
        [0, -math.exp(16), -2 * math.exp(16)]
    )
    for space in (
        modulating_factor(1, 1.5, "margin", 64.0),
        modulating_factor(1, 5, "linear", 300),
    ):
        a = space.options(np.array([30.0]))["a"]  # an e^1920 overflows, and float32 at e^88
        assert a == pytest.approx(-math.exp(80))
        assert math.isfinite(space.options(space.start)["a"])
        head = SearchSoftmax(2, 2, a, scale=64.0)
        assert head(torch.eye(2), torch.arange(2)).isfinite()
    identity = piecewise_linear(2)
    assert identity.options(identity.start) == {"t": [[1, 0], [1, 0]], "tau": [[1, 0], [1, 0]]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([-0.1], 0.1, 0.3), "start: expected .* got"),
        (([0.1], 0.0, 0.3), "sigma: expected a number above 0, got 0.0"),
        (([0.1], 0.1, -1), "learning_rate: expected a number of at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianSearch(*arguments, lower=0.0)
