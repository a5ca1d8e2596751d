from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairloss_ext import reference, sampled_classes

BOTH = pytest.mark.parametrize("function", [sampled_classes, reference.sampled_classes])
SEEDS = st.integers(-(2**63), 2**63 - 1)


def splitmix64(seed, number):
    """splitmix64.c with Python's integers."""
    mask = (1 << 64) - 1
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def drawn_class(position, key, size):
    """The Feistel network with halves as bit strings, walked until it is below `size`."""
    bits = (size - 1).bit_length()
    while True:
        text = f"{position:0{bits}b}"[-bits:] if bits else ""
        left, right = text[: bits // 2], text[bits // 2 :]
        for number in range(12):
            hashed = splitmix64(key, (number << 32) + int(right or "0", 2))
            hashed = f"{hashed:064b}"[64 - len(left) :] if left else ""
            flipped = "".join(str(int(a != b)) for a, b in zip(left, hashed, strict=True))
            left, right = right, flipped
        position = int(left + right or "0", 2)
        if position < size:
            return position


@BOTH
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 1000, 2**31 - 1])
def test_drawn_classes_follow_from_seed_and_step_alone(function, size):
    samples = min(size, 20)
    key = splitmix64(-5 % 2**64, 123456789)
    classes, positions = function(torch.empty(0, dtype=torch.int64), size, samples, 123456789, -5)
    assert classes.tolist() == [drawn_class(i, key, size) for i in range(samples)]
    assert positions.tolist() == []


@settings(max_examples=60)
@given(st.integers(1, 700), st.data(), st.integers(0, 90), SEEDS, SEEDS)
def test_exactly_the_requested_number_is_drawn_and_the_batch_appended(
    size, data, batch, step, seed
):
    torch.manual_seed(0)
    samples = data.draw(st.integers(0, size))
    labels = torch.randint(-1, size, (batch,), dtype=torch.int32)
    classes, positions = sampled_classes(labels, size, samples, torch.tensor(step), seed)
    assert classes.dtype == positions.dtype == torch.int64
    drawn, others = classes[:samples].tolist(), classes[samples:].tolist()
    assert len(set(drawn)) == samples
    assert all(0 <= c < size for c in drawn)
    named = set(labels.tolist()) - {-1}
    expected, seen = [], set(drawn)
    for label in labels.tolist():
        expected.append(-1 if label in seen or label < 0 else label)
        seen.add(label)
    assert others == expected
    assert torch.equal(classes[positions[labels >= 0]], labels[labels >= 0].long())
    assert (positions[labels < 0] == -1).all()
    assert named <= set(classes.tolist())
    again = reference.sampled_classes(labels, size, samples, step, seed)
    assert torch.equal(again[0], classes)
    assert torch.equal(again[1], positions)


@pytest.mark.parametrize(("size", "samples"), [(5, 2), (9, 4), (37, 9), (64, 20)])
def test_classes_and_pairs_of_them_are_drawn_as_often_as_any(size, samples):
    steps = 2000
    no_labels = torch.empty(0, dtype=torch.int64)
    drawn = torch.zeros(steps, size, dtype=torch.float64)
    for step in range(steps):
        drawn[step, sampled_classes(no_labels, size, samples, step)[0]] = 1

    def within(count, probability):
        """Five sigma of a binomial number; 1400 numbers are compared."""
        sigma = math.sqrt(steps * probability * (1 - probability))
        assert (count - steps * probability).abs().max() <= 5 * sigma

    within(drawn.sum(dim=0), samples / size)
    pairs = (drawn.T @ drawn)[~torch.eye(size, dtype=torch.bool)]
    within(pairs, samples * (samples - 1) / (size * (size - 1)))
    after = drawn[1:].T @ drawn[:-1]  # of one step and the next
    within(after * steps / (steps - 1), (samples / size) ** 2)


def test_all_orders_of_a_few_classes_are_as_likely():
    no_labels = torch.empty(0, dtype=torch.int64)
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(3000):
        order = tuple(sampled_classes(no_labels, 4, 4, 7, seed)[0].tolist())
        counts[order] = counts.get(order, 0) + 1
    chi_square = sum((n - 125) ** 2 / 125 for n in counts.values())
    assert len(counts) == 24
    assert chi_square < 23 + 5 * math.sqrt(2 * 23)  # mean and deviation at 23 degrees of freedom


def test_large_draws_have_no_repeats_and_cover_evenly():
    size, samples = 1_000_003, 100_000
    classes, _ = sampled_classes(torch.tensor([17]), size, samples, 3)
    mask = torch.zeros(size, dtype=torch.bool).index_fill(0, classes[:samples], True)
    assert mask.sum() == samples
    tenths = mask[:1_000_000].view(10, -1).sum(dim=1)
    assert (tenths - samples / 10).abs().max() < 5 * math.sqrt(samples * 0.1 * 0.9)


def test_all_classes_leave_nothing_for_the_batch():
    labels = torch.randint(0, 50, (20,))
    classes, positions = sampled_classes(labels, 50, 50, 1)
    assert classes[:50].sort().values.tolist() == list(range(50))
    assert (classes[50:] == -1).all()
    assert torch.equal(classes[positions], labels)


@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"labels": torch.tensor([0, 9])},
            "labels: expected -1 to 8, got 9 at position 1",
            marks=pytest.mark.cpu_only,
        ),
        pytest.param(
            {"labels": torch.tensor([-2, 0])},
            "labels: expected -1 to 8, got -2 at position 0",
            marks=pytest.mark.cpu_only,
        ),
        ({"labels": torch.tensor([0.0])}, "labels: expected a tensor of integers"),
        ({"labels": torch.zeros(2, 2, dtype=torch.int64)}, "labels: expected shape"),
        ({"num_classes": 0}, "num_classes: expected at least 1"),
        ({"num_classes": 2**31}, "num_classes: expected at least 1 and fewer than"),
        ({"samples": 10}, "samples: expected 0 to 9, got 10"),
        ({"samples": -1}, "samples: expected 0 to 9, got -1"),
        ({"step": torch.zeros(2, dtype=torch.int64)}, "step: expected one integer"),
        ({"step": torch.tensor(0.5)}, "step: expected one integer"),
    ],
)
def test_bad_arguments_are_named(function, change, message):
    good = {"labels": torch.tensor([0, 1]), "num_classes": 9, "samples": 3, "step": 0}
    with pytest.raises(ValueError, match=message):
        function(**(good | change))


def test_one_graph_for_all_steps():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(labels, step):
        return sampled_classes(labels, 500, 40, step, 3)

    labels = torch.randint(-1, 500, (16,))
    for number in range(3):
        step = torch.tensor(number)
        with torch.compiler.set_stance("default" if number == 0 else "fail_on_recompile"):
            result = compiled(labels, step)
        for ours, theirs in zip(result, sampled_classes(labels, 500, 40, number, 3), strict=True):
            assert torch.equal(ours, theirs)


def test_opcheck():
    labels = torch.tensor([3, -1, 3])
    arguments = (labels, torch.tensor(1), 9, 4, 0)
    torch.library.opcheck(torch.ops.fairloss.sampled_classes, arguments)
