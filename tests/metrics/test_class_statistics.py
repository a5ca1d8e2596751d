from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fairloss.metrics import ClassStatistics
from fairloss_ext import class_statistics

SHAPES = [(700, 33, 120), (50, 5, 1), (3, 2, 600), (0, 4, 3), (2100, 17, 70)]


def streamed(embeddings, labels, classes, chunks=1):
    statistics = ClassStatistics(classes, embeddings.shape[1])
    parts = list(zip(embeddings.chunk(chunks), labels.chunk(chunks), strict=True))
    for part in parts:
        statistics.update(*part)
    return statistics.compute(parts)


def assert_same(result, expected, angle=1e-6):
    assert torch.equal(result.count, expected.count)
    for name in ("center", "intra_variance", "intra_angle", "inter_angle"):
        a, b = getattr(result, name), getattr(expected, name)
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=angle, rtol=2e-6, equal_nan=True, msg=name)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chunks", [1, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_streamed_statistics_are_those_of_one_pass(shape, chunks, dtype):
    """With empty classes, classes of one image and label -1."""
    samples, dim, classes = shape
    embeddings, labels = torch.randn(samples, dim).to(dtype), torch.randint(-1, classes, (samples,))
    expected = class_statistics(embeddings, labels, classes)
    result = streamed(embeddings, labels, classes, chunks)
    assert_same(result, expected)
    # of near ties either may be the nearest
    agrees = result.nearest_class == expected.nearest_class
    assert agrees.double().mean() > 0.99


def test_one_image_at_a_time():
    embeddings, labels = torch.randn(60, 9), torch.randint(-1, 8, (60,))
    result = streamed(embeddings, labels, 8, chunks=60)
    assert_same(result, class_statistics(embeddings, labels, 8))


@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_the_error_is_that_of_one_pass(spread):
    """Against float64, at variances down to 1e-9, which float32 sums lose."""
    classes, each, dim = 20, 200, 64
    labels = torch.arange(classes).repeat(each)
    embeddings = torch.randn(classes, dim)[labels] + spread * torch.randn(len(labels), dim)
    x = F.normalize(embeddings.double())
    center = F.normalize(torch.stack([x[labels == c].sum(dim=0) for c in range(classes)]))
    chords = (x - center[labels]).square().sum(dim=1) / 2
    variance = torch.stack([chords[labels == c].sum() / (each - 1) for c in range(classes)])
    one_pass = class_statistics(embeddings, labels, classes)
    result = streamed(embeddings, labels, classes, chunks=7)

    def error(statistics):
        relative = statistics.intra_variance.double() / variance - 1
        return torch.stack([relative.abs().max(), (statistics.center - center).abs().max()])

    assert (error(result) <= 2 * error(one_pass)).all()


def test_zero_and_non_finite_rows_count_as_in_one_pass():
    embeddings, labels = torch.randn(60, 5), torch.arange(60) % 20
    for row, value in enumerate((0.0, 1e-13, math.nan, math.inf, 1e30, 1e-11)):
        embeddings[row] *= value
    embeddings[[6, 26, 46]] = 0.0  # a class without direction
    embeddings[[7, 27]], embeddings[47] = torch.eye(5)[0], -torch.eye(5)[0]
    embeddings[8], embeddings[28], labels[48] = torch.eye(5)[1], -torch.eye(5)[1], -1  # opposite
    labels[[22, 42]] = -1  # NaN alone in its class
    assert_same(streamed(embeddings, labels, 20, 7), class_statistics(embeddings, labels, 20))


def test_rows_without_a_class_may_have_any_value():
    embeddings = torch.tensor([[1.0, 0.0], [math.nan, 0.0]])
    result = streamed(embeddings, torch.tensor([0, -1]), 1)
    assert result.center.tolist() == [[1.0, 0.0]]


def test_states_of_two_halves_add_up_to_the_whole():
    embeddings, labels = torch.randn(90, 6), torch.arange(90) % 7
    whole, *halves = (ClassStatistics(7, 6) for _ in range(3))
    whole.update(embeddings, labels)
    for half, part in zip(halves, torch.randperm(90).chunk(2), strict=True):
        half.update(embeddings[part], labels[part])
    first, second = halves
    for state in ("sums", "counts", "zeros"):
        setattr(first, state, getattr(first, state) + getattr(second, state))
    assert_same(first.compute([(embeddings, labels)]), whole.compute([(embeddings, labels)]), 2e-7)


def test_intra_angle_needs_a_second_pass():
    embeddings, labels = torch.randn(20, 6), torch.arange(20) % 3
    statistics = ClassStatistics(3, 6)
    statistics.update(embeddings, labels)
    first = statistics.compute()
    assert first.intra_angle.isnan().all()
    assert not first.intra_variance.isnan().any()
    with pytest.raises(ValueError, match="second_pass: expected 20 images, .*, got 19 images"):
        statistics.compute([(embeddings[1:], labels[1:])])


def test_reset_forgets():
    embeddings, labels = torch.randn(20, 6), torch.arange(20) % 3
    statistics = ClassStatistics(3, 6)
    statistics.update(torch.randn(9, 6), torch.arange(9) % 2)
    statistics.reset()
    assert statistics.compute().count.tolist() == [0, 0, 0]
    statistics.update(embeddings, labels)
    assert_same(statistics.compute([(embeddings, labels)]), class_statistics(embeddings, labels, 3))


def test_results_do_not_change_with_later_updates():
    statistics = ClassStatistics(1, 2)
    statistics.update(torch.eye(2), torch.zeros(2, dtype=torch.int64))
    before = statistics.compute()
    statistics.update(torch.eye(2), torch.zeros(2, dtype=torch.int64))
    assert before.count.tolist() == [2]


def test_arrays_and_columns_of_labels():
    embeddings = np.random.default_rng(0).normal(size=(30, 5))
    labels = (np.arange(30) % 4).astype(np.uint8)[:, None]
    statistics = ClassStatistics(4, 5)
    statistics.update(embeddings, labels)
    expected = class_statistics(embeddings, labels, 4)
    torch.testing.assert_close(statistics.compute().center, expected.center, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("embeddings", "labels"),
    [
        (torch.ones(3, 4), torch.tensor([0, 1, 3])),
        (torch.ones(3), torch.tensor([0, 1, 2])),
        (torch.ones(3, 4, dtype=torch.int64), torch.tensor([0, 1, 2])),
        (torch.ones(3, 4), torch.zeros(3)),
        (torch.ones(3, 4), torch.tensor([0, 1])),
    ],
)
def test_bad_arguments_raise_the_error_of_one_pass_and_add_nothing(embeddings, labels):
    with pytest.raises(ValueError) as expected:  # noqa: PT011 (its message is compared)
        class_statistics(embeddings, labels, 3)
    statistics = ClassStatistics(3, 4)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        statistics.update(embeddings, labels)
    assert str(error.value) == str(expected.value)
    assert not statistics.counts.any()
    assert not statistics.sums.any()


def test_other_sizes_are_named():
    with pytest.raises(ValueError, match=r"embeddings: expected shape \(3, 4\), got \(3, 5\)"):
        ClassStatistics(3, 4).update(torch.ones(3, 5), torch.arange(3))
    with pytest.raises(ValueError, match="num_classes: expected an integer of at least 1, got 0"):
        ClassStatistics(0, 4)
    with pytest.raises(ValueError, match="dim: expected an integer of at least 1, got 0"):
        ClassStatistics(3, 0)


def test_the_state_is_on_the_device_of_the_first_batch_unless_one_is_given():
    batch = torch.ones(2, 4, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    statistics = ClassStatistics(3, 4)
    statistics.update(*batch)
    assert statistics.sums.device.type == statistics.counts.device.type == "meta"
    assert ClassStatistics(3, 4, device="meta").sums.device.type == "meta"
