"""Cases of class_statistics beyond the other tests: invalid labels on a GPU, parts of classes."""

from __future__ import annotations

import pytest
import torch

from fairloss_ext import class_statistics, reference

FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


def assert_close(results, expected):
    """Near ties between centers may go either way, but not the angle to the nearest."""
    for name in ("count", "center", "intra_angle", "intra_variance", "inter_angle"):
        ours, theirs = getattr(results, name), getattr(expected, name)
        torch.testing.assert_close(ours, theirs, atol=3e-6, rtol=0, equal_nan=True)
    assert torch.equal(results.nearest_class < 0, expected.nearest_class < 0)


@pytest.mark.parametrize("bad", [-2, 7, 2**40])
def test_a_sample_with_an_invalid_label_is_ignored(monkeypatch, bad):
    embeddings, labels = torch.randn(300, 5), torch.randint(0, 7, (300,))
    labels[[3, 299]] = -1
    expected = class_statistics(embeddings, labels, 7)
    labels[[3, 299]] = bad
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    for ours, theirs in zip(class_statistics(embeddings, labels, 7), expected, strict=True):
        assert torch.equal(ours, theirs)


@FLOATS
@pytest.mark.parametrize("dim", [1, 33, 63, 512, 1000])
@pytest.mark.parametrize(("samples", "classes"), [(1, 1), (33, 7), (130, 1), (300, 200)])
@pytest.mark.parametrize("offset", [0, 1])  # 1: not aligned to 16 bytes
def test_odd_shapes(dtype, dim, samples, classes, offset):
    stride = dim + 8 - dim % 8 + offset
    store = torch.rand(samples * stride + offset).to(dtype)  # of one sign: no center is 0
    embeddings = store.as_strided((samples, dim), (stride, 1), offset)
    labels = torch.randint(-1, classes, (samples,))
    results = class_statistics(embeddings, labels, classes)
    assert_close(results, reference.class_statistics(embeddings, labels, classes))


@FLOATS
def test_classes_of_many_samples_are_split_anywhere(dtype):
    """Parts are of 128 samples, from 256 on; classes begin at any place between parts."""
    counts = [255, 3, 256, 0, 257, 383, 1, 384, 385, 1100, 100, *[0] * 30, 260, 256]
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = torch.cat([torch.full((77,), -1), labels])
    labels = labels[torch.randperm(len(labels))]
    embeddings = (torch.randn(len(labels), 40) + 0.5).to(dtype)
    results = class_statistics(embeddings, labels, len(counts))
    assert results.count.tolist() == counts
    assert_close(results, reference.class_statistics(embeddings, labels, len(counts)))


def test_a_class_of_more_parts_than_a_warp_has_lanes():
    embeddings, labels = torch.randn(5000, 3) + 1, torch.zeros(5000, dtype=torch.int64)
    results = class_statistics(embeddings, labels, 1)
    assert_close(results, reference.class_statistics(embeddings, labels, 1))


@pytest.mark.parametrize("ignored", range(0, 129, 16))
def test_a_class_does_not_depend_on_where_its_parts_stand(ignored):
    torch.manual_seed(1)
    embeddings, labels = torch.randn(1000, 6), torch.randint(0, 2, (1000,))
    expected = class_statistics(embeddings, labels, 2)
    more = torch.cat([torch.randn(ignored, 6), embeddings])
    results = class_statistics(more, torch.cat([torch.full((ignored,), -1), labels]), 2)
    for ours, theirs in zip(results, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_nan_sample_makes_only_its_own_class_of_many_parts_nan():
    embeddings, labels = torch.randn(1200, 6), torch.arange(1200) % 3
    embeddings[1000, 2] = torch.nan
    results = class_statistics(embeddings, labels, 3)
    for value in (
        results.intra_angle,
        results.intra_variance,
        results.inter_angle,
        results.center[:, 5],
    ):
        assert value.isnan().tolist() == [False, True, False]
    assert results.nearest_class.tolist() == [2, -1, 0]


def test_more_classes_than_threads():
    """On a circle: the nearest of a class are both its neighbors, so only the angle is sure."""
    angle = torch.arange(1000) * (2 * torch.pi / 1000)
    embeddings, labels = torch.stack([angle.cos(), angle.sin()], 1), torch.arange(1000)
    results = class_statistics(embeddings, labels.flip(0), 1000)
    assert (results.count == 1).all()
    torch.testing.assert_close(results.center, embeddings.flip(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(results.inter_angle, angle[1:2].expand(1000), atol=1e-5, rtol=0)


def test_the_same_bits_in_every_run():
    embeddings, labels = torch.randn(2000, 33), torch.randint(-1, 5, (2000,))
    first, second = (class_statistics(embeddings, labels, 5) for _ in range(2))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours, theirs)


def test_rows_that_lie_beyond_2_to_the_31():
    stride, samples = 2**23 + 1, 300
    store = torch.empty(stride * samples, dtype=torch.bfloat16)  # touched at the rows only
    embeddings = store.as_strided((samples, 9), (stride, 1))
    embeddings.copy_(torch.randn(samples, 9))
    labels = torch.arange(samples) % 4
    results = class_statistics(embeddings, labels, 4)
    for ours, theirs in zip(results, class_statistics(embeddings.clone(), labels, 4), strict=True):
        assert torch.equal(ours, theirs)


def test_the_nearest_center_in_any_tile():
    """Tiles are of 96 x 160 classes here; each class has one nearest, 300 classes away."""
    classes = 600
    embeddings = torch.eye(300).repeat(2, 1)
    results = class_statistics(embeddings, torch.arange(classes), classes)
    assert torch.equal(results.nearest_class, (torch.arange(classes) + 300) % classes)
    assert (results.inter_angle == 0).all()


@pytest.mark.parametrize("classes", [2, 33, 97, 161, 257])
def test_the_last_class_of_a_tile_is_seen(classes):
    """It equals the first one; all others are orthogonal, so that the lowest is their nearest."""
    embeddings = torch.cat([torch.eye(classes - 1), torch.eye(classes - 1)[:1]])
    results = class_statistics(embeddings, torch.arange(classes), classes)
    expected = torch.zeros(classes, dtype=torch.int64)
    expected[0] = classes - 1
    assert torch.equal(results.nearest_class, expected)
