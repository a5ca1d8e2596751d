from __future__ import annotations

import megaface_scale
import pytest
import torch

from fairloss.data import planted_megaface, write_planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The kit's lists are of powers of ten; with fewer than a million the planted TAR is 0."""
    folder = tmp_path_factory.mktemp("planted")
    plan = planted_megaface(10, probes=400, distractors=10_000, dimension=64)
    write_planted(folder, plan)
    return folder, plan


@pytest.mark.parametrize("name", megaface_scale.CANDIDATES)
def test_every_candidate_finds_the_planted_answer(planted, name):
    folder, plan = planted
    rank_1, tar = megaface_scale.CANDIDATES[name](folder)
    assert 0 < plan.recall() < 1  # or any answer might do
    megaface_scale.check({"rank_1": rank_1, "tar": tar}, plan)


def test_a_wrong_answer_is_noticed(planted):
    _, plan = planted
    with pytest.raises(AssertionError, match="rank_1"):
        megaface_scale.check({"rank_1": plan.recall() + 0.01, "tar": plan.tar(1e-6)}, plan)


def test_answer_counts_mates_by_hand():
    infinity = float("inf")
    nearest = torch.tensor([[0.9, 0.5], [0.3, 0.2]])
    mates = torch.tensor([[0.95, 0.6], [0.3, infinity]])  # two mates and one; the last is a tie
    rank_1, tar = megaface_scale.answer(nearest, mates, distractors=500_000)  # one is accepted
    assert rank_1 == pytest.approx(2 / 3)
    assert tar == pytest.approx(2 / 3)  # above 0.5: 0.95 and 0.6
