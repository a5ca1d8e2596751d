from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairloss_ext import distractor_ranks, reference
from fairloss_ext.ops.distractor_ranks import ranks_by_block

BOTH = pytest.mark.parametrize("function", [distractor_ranks, reference.distractor_ranks])


@pytest.fixture(params=[1, 2, 3, 7])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


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


@pytest.mark.parametrize("block", [1, 7, 50, 51])
@pytest.mark.parametrize("distractors", [0, 50])
def test_blocks_add_up(block, distractors):
    p, d = torch.randn(9, 6), torch.randn(distractors, 6)
    index, scores = torch.randint(0, 9, (30,)), torch.randn(30)
    tail = min(40, len(p) * len(d))
    expected = distractor_ranks(p, d, index, scores, tail)
    result = ranks_by_block(p, d, index, scores, tail, block)
    assert result[0].tolist() == expected[0].tolist()
    torch.testing.assert_close(result[1], expected[1])
    with pytest.raises(ValueError, match="tail: expected 0 to"):
        ranks_by_block(p, d, index, scores, len(p) * len(d) + 1, block)


def test_distractors_on_the_host_are_compared_with_probes_on_a_device():
    p, d = torch.randn(9, 6), torch.randn(50, 6)
    index, scores = torch.randint(0, 9, (30,)), torch.randn(30)
    ranks, tail = distractor_ranks(p, d.cpu(), index.cpu(), scores.cpu().numpy(), 5)
    expected = distractor_ranks(p, d, index, scores, 5)
    assert ranks.tolist() == expected[0].tolist()
    torch.testing.assert_close(tail, expected[1])


@given(
    st.one_of(st.integers(1, 40), st.integers(126, 131)),  # a block holds 128 probes
    st.one_of(st.integers(0, 300), st.integers(94, 98)),  # and 96 distractors
    st.one_of(st.integers(0, 60), st.integers(500, 3000)),
    st.integers(1, 40),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([0, 1, 25, 2**31]),
    st.integers(0, 2**31),
)
def test_matches_sorting(probes, distractors, trials, dim, dtype, tail, seed):
    torch.manual_seed(seed)
    # Small integers: products are exact, so ties are real and nothing rounds.
    p = torch.randint(-3, 4, (probes, dim)).to(dtype)
    d = torch.randint(-3, 4, (distractors, dim)).to(dtype)
    # Some probes have hundreds of trials, some none.
    index = (torch.rand(trials) ** 3 * probes).long()
    scores = torch.randint(-20, 20, (trials,)).float()
    similarity = p.double() @ d.double().T
    tail = min(tail, similarity.numel())
    ranks, highest = distractor_ranks(p, d, index, scores, tail)
    assert ranks.tolist() == (similarity[index] > scores[:, None]).sum(1).tolist()
    assert highest.tolist() == similarity.flatten().sort(descending=True).values[:tail].tolist()


@pytest.mark.parametrize("probes", [1, 5, 16, 33, 131])
def test_a_score_does_not_depend_on_its_position_in_a_tile(probes):
    """Strict comparison with a score computed elsewhere must never count the pair itself."""
    p, d = torch.randn(probes, 61), torch.randn(96 + 12 + 4 + 3, 61)
    p[-1] = torch.randn(61)
    last = torch.tensor([0])

    def alone(row):
        return distractor_ranks(p[-1:], row[None], last, torch.zeros(1), tail=1)[1]

    scores = torch.cat([alone(row) for row in d])
    index = torch.full((len(d),), probes - 1)
    ranks, _ = distractor_ranks(p, d, index, scores)
    assert ranks.tolist() == (scores > scores[:, None]).sum(1).tolist()
    below = torch.nextafter(scores, torch.tensor(-math.inf))
    ranks, _ = distractor_ranks(p, d, index, below)
    assert ranks.tolist() == (scores > below[:, None]).sum(1).tolist()
    _, tail = distractor_ranks(p, d, index, scores, tail=probes * len(d))
    assert set(scores.tolist()) <= set(tail.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_threads_and_order_change_nothing(threads, dtype):
    p, d = torch.randn(37, 23).to(dtype), torch.randn(501, 23).to(dtype)
    index, scores = torch.randint(0, 37, (200,)), torch.randn(200) * 5
    result = distractor_ranks(p, d, index, scores, tail=3000)
    torch.set_num_threads(1)
    expected = distractor_ranks(p, d.flip(0), index, scores, tail=3000)
    assert torch.equal(result[0], expected[0])
    assert torch.equal(result[1], expected[1])


def test_the_tail_of_ever_higher_scores(threads):
    d = torch.arange(5000.0)[:, None]
    _, tail = distractor_ranks(torch.ones(1, 1), d, torch.tensor([0]), torch.zeros(1), tail=70)
    assert tail.tolist() == list(range(4999, 4929, -1))
    _, tail = distractor_ranks(-torch.ones(1, 1), d, torch.tensor([0]), torch.zeros(1), tail=70)
    assert tail.tolist() == [-float(k) for k in range(70)]  # padding of tiles is no score


@pytest.mark.cpu_only
def test_the_first_invalid_distractor_is_named(threads):
    d = torch.randn(400, 21)
    d[[399, 250, 131], [20, 0, 17]] = torch.tensor([math.nan, math.inf, -math.inf])
    with pytest.raises(ValueError, match="distractors: expected finite .* in row 131"):
        distractor_ranks(torch.randn(3, 21), d, torch.tensor([0]), torch.zeros(1))


@pytest.mark.cpu_only
def test_shards_add_up_and_memory_maps_work(tmp_path):
    rng = np.random.default_rng(0)
    distractors = rng.normal(size=(1000, 16)).astype(np.float32)
    probes = torch.randn(9, 16)
    index, scores = torch.arange(40) % 9, 2 * torch.randn(40)
    whole, tail = distractor_ranks(probes, distractors, index, scores, tail=50)
    np.save(tmp_path / "d.npy", distractors)
    mapped = np.load(tmp_path / "d.npy", mmap_mode="r")
    for a, b in zip(
        distractor_ranks(probes, mapped, index, scores, 50), (whole, tail), strict=True
    ):
        assert torch.equal(a, b)
    parts = [distractor_ranks(probes, part, index, scores, 50) for part in np.split(mapped, 4)]
    assert torch.equal(sum(ranks for ranks, _ in parts), whole)
    merged = torch.cat([highest for _, highest in parts]).sort(descending=True).values[:50]
    torch.testing.assert_close(merged, tail)


@pytest.mark.cpu_only
@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe_index": torch.tensor([2])}, "probe_index|index 2"),
        ({"scores": torch.tensor([math.nan])}, "scores: "),
        ({"tail": 11}, "tail: expected 0 to 10"),
        ({"distractors": torch.full((5, 3), math.nan)}, "distractors: .* in row 0"),
        ({"probes": torch.tensor([[0.0] * 3, [math.inf] * 3])}, "probes: .* in row 1"),
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
