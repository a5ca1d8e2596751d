"""Cases of distractor_ranks beyond the other tests: values that are not checked."""

from __future__ import annotations

import math

import pytest
import torch

from fairloss_ext import distractor_ranks, reference


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")


def trials(probes, count):
    return torch.randint(0, probes, (count,)), torch.randn(count)


@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_a_trial_of_an_invalid_probe_has_no_rank(unchecked, bad):
    p, d = torch.randn(5, 8), torch.randn(400, 8)
    index, scores = trials(5, 90)
    expected, _ = reference.distractor_ranks(p, d, index, scores)
    index[[0, 17, 89]] = bad
    expected[[0, 17, 89]] = -1
    ranks, _ = distractor_ranks(p, d, index, scores)
    assert torch.equal(ranks, expected)


def test_a_score_of_nan_has_no_rank(unchecked):
    p, d = torch.randn(5, 8), torch.randn(400, 8)
    index, scores = trials(5, 90)
    expected, _ = reference.distractor_ranks(p, d, index, scores)
    scores[[3, 88]] = math.nan
    expected[[3, 88]] = -1
    assert torch.equal(distractor_ranks(p, d, index, scores)[0], expected)


@pytest.mark.parametrize("at", [0, 159, 160, 399])  # blocks are of 160 distractors here
def test_a_nan_distractor_invalidates_all_ranks_and_is_in_the_tail(unchecked, at):
    p, d = torch.randn(5, 8), torch.randn(400, 8)
    index, scores = trials(5, 90)
    d[at, 3] = math.nan
    ranks, tail = distractor_ranks(p, d, index, scores, tail=7)
    assert (ranks == -1).all()
    assert tail.isnan().tolist() == [True] * 5 + [False] * 2  # a pair with each probe
    clean = torch.cat([d[:at], d[at + 1 :]])
    assert torch.equal(tail[5:], distractor_ranks(p, clean, index, scores, tail=2)[1])


def test_a_nan_probe_invalidates_its_own_ranks(unchecked):
    p, d = torch.randn(150, 8), torch.randn(200, 8)  # blocks are of 128 probes
    index, scores = trials(150, 700)
    expected, _ = reference.distractor_ranks(p, d, index, scores)
    p[140, 0] = math.nan
    expected[index == 140] = -1
    assert (expected == -1).any()
    assert torch.equal(distractor_ranks(p, d, index, scores)[0], expected)


@pytest.mark.parametrize("left", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("right", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dim", [1, 63, 512, 1000])
def test_odd_shapes(left, right, dim):
    # Small integers: products are exact, so ties are real and nothing rounds.
    p = torch.randint(-2, 3, (131, dim)).to(left)
    store = torch.randint(-2, 3, (333, 2 * dim + 1)).to(right)
    d = store[::2, 1 : dim + 1]  # strided rows, not aligned to 16 bytes
    index, scores = torch.randint(120, 131, (99,)), torch.randint(-40, 40, (99,)).float()
    results = distractor_ranks(p, d, index, scores, tail=1000)
    for ours, theirs in zip(
        results, reference.distractor_ranks(p, d, index, scores, tail=1000), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("trials", [1, 7, 8, 9, 16, 17, 100])
def test_any_number_of_trials_of_one_probe(trials):
    p, d = torch.ones(3, 1), torch.arange(350.0)[torch.randperm(350), None]
    index, scores = torch.ones(trials, dtype=torch.int64), 4 * torch.randperm(trials).float()
    ranks, _ = distractor_ranks(p, d, index, scores)
    assert ranks.tolist() == (349 - scores).clamp(min=0).tolist()


def test_distractors_that_lie_beyond_2_to_the_31():
    stride, count = 2**23 + 1, 300
    store = torch.empty(stride * count, dtype=torch.bfloat16)  # touched at the rows only
    d = store.as_strided((count, 9), (stride, 1))
    d.copy_(torch.randn(count, 9))
    p, (index, scores) = torch.randn(4, 9).bfloat16(), trials(4, 50)
    results = distractor_ranks(p, d, index, scores, tail=200)
    for ours, theirs in zip(
        results, distractor_ranks(p, d.clone(), index, scores, 200), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("probes", [1, 127, 129])
@pytest.mark.parametrize("distractors", [1, 159, 161])
def test_padding_is_not_in_the_tail(probes, distractors):
    p, d = -torch.ones(probes, 1), torch.ones(distractors, 1)
    none = torch.empty(0, dtype=torch.int64)
    _, tail = distractor_ranks(p, d, none, torch.empty(0), tail=probes * distractors)
    assert (tail == -1).all()


def test_more_probes_than_threads():
    p, d = torch.arange(1000.0)[:, None], torch.ones(5, 1)
    index = torch.arange(999, -1, -1)
    ranks, _ = distractor_ranks(p, d, index, torch.full((1000,), 499.5))
    assert torch.equal(ranks, 5 * (index >= 500).long())


def test_nothing_to_count():
    p, d = torch.randn(3, 4), torch.randn(9, 4)
    none = torch.empty(0, dtype=torch.int64)
    assert distractor_ranks(p, d, none, torch.empty(0), tail=2)[1].shape == (2,)
    ranks, tail = distractor_ranks(p, d[:0], torch.tensor([2]), torch.zeros(1))
    assert ranks.tolist() == [0]
    assert len(tail) == 0
    ranks, tail = distractor_ranks(p[:0], d, none, torch.empty(0))
    assert len(ranks) == len(tail) == 0
