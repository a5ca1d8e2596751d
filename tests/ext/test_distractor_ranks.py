from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairloss_ext import distractor_ranks, reference

BOTH = pytest.mark.parametrize("function", [distractor_ranks, reference.distractor_ranks])


@BOTH
def test_by_hand_with_ties(function):
    probes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    distractors = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.5, 0.9], [-1.0, 0.2]])
    # Similarities of probe 0: .9 .5 .5 -1; of probe 1: .1 .5 .9 .2
    index = torch.tensor([0, 0, 0, 1, 1, 0])
    scores = torch.tensor([0.5, 1.0, -2.0, 0.1, 0.95, 0.5])
    ranks, tail = function(probes, distractors, index, scores, tail=3)
    assert ranks.tolist() == [1, 0, 4, 3, 0, 1]  # a tie is not strictly more similar
    torch.testing.assert_close(tail, torch.tensor([0.9, 0.9, 0.5]))


@settings(deadline=None)
@given(
    st.integers(1, 30),
    st.integers(0, 300),
    st.integers(0, 60),
    st.integers(1, 40),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.integers(0, 2**31),
)
def test_matches_sorting(probes, distractors, trials, dim, dtype, seed):
    torch.manual_seed(seed)
    # Small integers: products are exact, so ties are real and nothing rounds.
    p = torch.randint(-3, 4, (probes, dim)).to(dtype)
    d = torch.randint(-3, 4, (distractors, dim)).to(dtype)
    index = torch.randint(0, probes, (trials,))
    scores = torch.randint(-20, 20, (trials,)).float()
    similarity = p.double() @ d.double().T
    tail = min(25, similarity.numel())
    ranks, highest = distractor_ranks(p, d, index, scores, tail)
    assert ranks.tolist() == (similarity[index] > scores[:, None]).sum(1).tolist()
    assert highest.tolist() == similarity.flatten().sort(descending=True).values[:tail].tolist()


def test_shards_add_up_and_memory_maps_work(tmp_path):
    rng = np.random.default_rng(0)
    distractors = rng.normal(size=(1000, 16)).astype(np.float32)
    probes = torch.randn(9, 16)
    index, scores = torch.arange(40) % 9, 2 * torch.randn(40)
    whole, tail = distractor_ranks(probes, distractors, index, scores, tail=50)
    np.save(tmp_path / "d.npy", distractors)
    mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
    parts = [distractor_ranks(probes, part, index, scores, 50) for part in np.split(mapped, 4)]
    assert torch.equal(sum(ranks for ranks, _ in parts), whole)
    merged = torch.cat([highest for _, highest in parts]).sort(descending=True).values[:50]
    torch.testing.assert_close(merged, tail)


@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe_index": torch.tensor([2])}, "probe_index|index 2"),
        ({"scores": torch.tensor([math.nan])}, "scores: "),
        ({"tail": 11}, "tail: expected 0 to 10"),
        ({"distractors": torch.full((5, 3), math.nan)}, "distractors: row 0 holds NaN"),
        ({"probes": torch.tensor([[0.0] * 3, [math.inf] * 3])}, "probes: row 1 holds NaN"),
        ({"distractors": torch.randn(3)}, "distractors: expected an"),
    ],
)
def test_bad_arguments_are_named(function, change, message):
    good = {
        "probes": torch.randn(2, 3),
        "distractors": torch.randn(5, 3),
        "probe_index": torch.tensor([1]),
        "scores": torch.tensor([0.1]),
    }
    with pytest.raises((RuntimeError, ValueError, IndexError), match=message):
        function(**(good | change))


@BOTH
def test_the_tail_holds_even_infinite_products(function):
    probes, distractors = torch.tensor([[-3e38], [1.0]]), torch.tensor([[3e38], [2.0]])
    _, tail = function(probes, distractors, torch.tensor([0]), torch.tensor([0.0]), tail=4)
    assert tail[:2].tolist() == pytest.approx([3e38, 2.0])
    assert tail[3] == -math.inf


def test_opcheck():
    arguments = (torch.randn(2, 3), torch.randn(5, 3), torch.tensor([1]), torch.tensor([0.1]), 4)
    torch.library.opcheck(torch.ops.fairloss.distractor_ranks, arguments)
