"""RL-RBN's environment: margins of groups, on a planted problem and on a small network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic import faces

from fairloss.agent import ACTIONS, GroupBias, GroupPolicy, MarginGrid, fit_tabular, skewness_reward
from fairloss.data import read_groups
from fairloss.experience import (
    GroupEpochs,
    collect_skewness,
    fit_group_policy,
    group_separation,
)
from fairloss.heads import CosineHead
from fairloss.models import build_model
from fairloss.training import OptimizerConfig, Trainer
from fairloss_ext import class_statistics

# One step of margin is worth 0.08: the second group needs one step more than the reference, the
# third two less, the fourth none.
SKILL = np.array([0.0, -0.08, 0.16, 0.0])


def planted(noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    return lambda margins: SKILL + 0.8 * margins + noise * random.standard_normal(4)


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_the_agent_makes_unequal_groups_alike(noise):
    states = GroupBias(4, tolerance=0.03)
    transitions = collect_skewness(planted(noise), states, [0.35] * 4, epochs=60)
    assert len(transitions.state) == 60 * 3  # the reference takes no action
    policy = fit_group_policy(transitions, states)
    exact = fit_tabular(transitions, states.legal)
    assert np.array_equal(
        policy.table, GroupPolicy.greedy(exact, transitions.visits(48), states).table
    )
    margins = np.array([0.35, 0.15, 0.45, 0.45])
    environment = planted(noise, seed=1)
    for _ in range(5):
        margins = policy.apply(environment(margins), margins)
    np.testing.assert_allclose(margins, [0.35, 0.45, 0.15, 0.35])
    assert np.abs(states.bias(SKILL + 0.8 * margins)).max() < 0.03 < np.abs(SKILL).max()


def test_states_by_hand():
    states = GroupBias(3, reference=1, tolerance=0.1, grid=MarginGrid((0.1, 0.2)))
    assert states.legal.shape == (18, 3)
    assert states.others.tolist() == [0, 2]
    separation = [0.5, 0.7, 0.79]
    np.testing.assert_allclose(states.bias(separation), [-0.2, 0, 0.09])
    assert states.encode(separation, [0.1, 0.2, 0.2]).tolist() == [0, (3 + 1) * 2 + 1, 15]
    raise_all = GroupPolicy(states, np.where(states.legal[:, 2], 2, 1))
    np.testing.assert_allclose(raise_all.apply(separation, [0.1, 0.1, 0.2]), [0.2, 0.1, 0.2])
    np.testing.assert_allclose(
        skewness_reward([-0.2, 0.1], [0.1, 0.2]) * np.std([0.1, -0.1]), [0.1, -0.1]
    )
    assert skewness_reward([0.1], [0.1]).tolist() == [0]
    assert skewness_reward([0.3, 0.3], [0.1, 0.1 + 1e-16]).tolist() == [0, 0]  # rounding


def test_separation_is_of_the_group_s_own_classes():
    embeddings, labels = torch.randn(20, 6), torch.arange(20) % 5
    statistics = class_statistics(embeddings, labels, 6)  # the last class is empty
    separation = group_separation(statistics, [0, 1, 0, 1, 1, 0])
    for group, classes in enumerate(([0, 2], [1, 3, 4])):
        gap = (statistics.inter_angle - statistics.intra_angle)[classes].double()
        assert separation[group] == pytest.approx(gap.mean().item())


def test_one_image_has_no_spread_that_would_count():
    labels = torch.tensor([0, 0, 0, 1, 2, 2, 2, 3, 3])  # class 1 has one image
    statistics = class_statistics(torch.randn(9, 6), labels, 4)
    inter, intra = statistics.inter_angle.double(), statistics.intra_angle.double()
    assert intra[1] < 1e-3 < 0.1 < intra[0]
    separation = group_separation(statistics, [0, 0, 1, 1])
    assert separation[0] == pytest.approx((inter[:2].mean() - intra[0]).item())


def test_an_epoch_trains_with_the_margins_of_the_groups(tmp_path):
    data = faces([4, 4, 4, 4])
    head = CosineHead(4, 8, torch.full((4,), 0.35), kind="cos", scale=16.0)
    model = build_model("small_cnn", 8, (32, 32), 1)
    trainer = Trainer(model, head, data, OptimizerConfig(), batch_size=8, seed=0)
    table = tmp_path / "identities.csv"
    table.write_text("identity,group\nid3,b\nid1,a\nid0,b\nid2,a\nanother,c\n", encoding="utf-8")
    names, groups = read_groups(table, data.identities)
    assert names == ["a", "b"]
    assert groups.tolist() == [1, 0, 0, 1]
    with pytest.raises(ValueError, match=r"groups: expected shape \(4,\), got \(3,\)"):
        GroupEpochs(trainer, groups[:3], 0.02)
    environment = GroupEpochs(trainer, groups, 0.02)
    transitions = collect_skewness(environment, GroupBias(2), [0.35, 0.35], epochs=3)
    assert environment.epoch == 4
    assert trainer.step == 4 * 2
    margins = head.margins.tolist()
    assert margins[1] == margins[2] == pytest.approx(0.35)
    last = 0.35 + 0.1 * sum(ACTIONS[a] == "raise" for a in transitions.action)
    last -= 0.1 * sum(ACTIONS[a] == "lower" for a in transitions.action)
    assert margins[0] == margins[3] == pytest.approx(last)


def separation_of(groups):
    labels = torch.tensor([0, 0, 1, 1, 2])
    return group_separation(class_statistics(torch.randn(5, 6), labels, 3), groups)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupBias(3, reference=3), "reference: .*got 3"),
        (lambda: GroupBias(3, tolerance=0), "tolerance: .*got 0"),
        (lambda: GroupBias(3).bias([0.1, np.nan, 0.2]), "separation: expected"),
        (lambda: collect_skewness(planted(), GroupBias(4), [0.35] * 4, 0), "epochs: .*got 0"),
        (
            lambda: collect_skewness(planted(), GroupBias(1), [0.35], 3),
            "states: expected at least two groups",
        ),
        (lambda: separation_of([0, 1]), r"groups: expected shape \(3,\), got \(2,\)"),
        (
            lambda: separation_of([0, 2, 2]),
            "groups: expected a class of two images in every group, got none in group 1",
        ),
        (
            lambda: separation_of([0, 0, 1]),
            "groups: expected a class of two images in every group, got none in group 1",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_table_without_the_column_or_the_identity_is_refused(tmp_path):
    table = tmp_path / "identities.csv"
    table.write_text("identity,group\na,x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected columns 'race' and 'identity'"):
        read_groups(table, ["a"], column="race")
    with pytest.raises(
        ValueError,
        match="got none for 1 identities, the first 'b'",
    ):
        read_groups(table, ["a", "b"])
