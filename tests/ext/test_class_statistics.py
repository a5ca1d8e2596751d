from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fairloss_ext import class_statistics, reference

BOTH = pytest.mark.parametrize("function", [class_statistics, reference.class_statistics])


# Tiles are 96 rows by 256 columns of centers, register tiles 12 by 32.
AROUND_TILES = [1, 2, 11, 33, 95, 96, 97, 255, 256, 257, 600]


@pytest.fixture(params=[1, 2, 3, 7])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def degrees(*angles):
    radians = torch.tensor(angles, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], 1).float()


@BOTH
def test_by_hand(function):
    # Class 0 at 0 and 60 degrees, class 1 at 120 (one image), class 2 empty, class 3 at 180.
    embeddings = degrees(0, 60, 120, 180, 180, 17) * torch.tensor([[1], [3], [2], [1], [1], [1.0]])
    labels = torch.tensor([0, 0, 1, 3, 3, -1])
    result = function(embeddings, labels, 4)
    assert result.count.tolist() == [2, 1, 0, 2]
    torch.testing.assert_close(result.center[[0, 1, 3]], degrees(30, 120, 180))
    nan = math.nan
    expected = torch.tensor([math.radians(30), 0, nan, 0])
    torch.testing.assert_close(result.intra_angle, expected, equal_nan=True, atol=1e-6, rtol=1e-6)
    variance = 2 * (1 - math.cos(math.radians(30)))  # n / (n - 1) = 2
    torch.testing.assert_close(
        result.intra_variance,
        torch.tensor([variance, 0, nan, 0]),
        equal_nan=True,
        atol=1e-6,
        rtol=0,
    )
    expected = torch.tensor([math.radians(90), math.radians(60), nan, math.radians(60)])
    torch.testing.assert_close(result.inter_angle, expected, equal_nan=True)
    assert result.nearest_class.tolist() == [1, 3, -1, 1]


@BOTH
@pytest.mark.parametrize(
    "shape", [(700, 33, 120), (50, 5, 1), (3, 2, 600), (0, 4, 3), (900, 70, 300)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_matches_float64(function, shape, dtype):
    samples, dim, classes = shape
    embeddings = torch.randn(samples, dim).to(dtype)
    labels = torch.randint(-1, classes, (samples,))
    result = function(embeddings, labels, classes)
    x = F.normalize(embeddings.double())
    centers = torch.full((classes, dim), math.nan, dtype=torch.float64)
    for c in range(classes):
        samples_of_c = x[labels == c]
        assert result.count[c] == len(samples_of_c)
        if len(samples_of_c) == 0:
            assert result.intra_angle[c].isnan()
            assert result.nearest_class[c] == -1
            continue
        centers[c] = F.normalize(samples_of_c.sum(0), dim=0)
        cosine = (samples_of_c @ centers[c]).clamp(-1, 1)
        if len(samples_of_c) > 1:
            angle = cosine.acos().mean().item()
            assert result.intra_angle[c].item() == pytest.approx(angle, abs=2e-6)
            variance = ((1 - cosine).sum() / (len(samples_of_c) - 1)).item()
            assert result.intra_variance[c].item() == pytest.approx(variance, abs=2e-6)
    torch.testing.assert_close(result.center.double(), centers, equal_nan=True, atol=1e-6, rtol=0)
    cosine = centers @ centers.T
    cosine.fill_diagonal_(-2)
    cosine[:, centers.isnan().any(1)] = -2
    for c in (result.count > 0).nonzero().flatten().tolist():
        best = cosine[c].max().item()
        if best == -2:
            assert result.nearest_class[c] == -1
            assert result.inter_angle[c].isnan()
        else:
            assert cosine[c, result.nearest_class[c]].item() == pytest.approx(best, abs=1e-6)
            assert result.inter_angle[c].item() == pytest.approx(math.acos(best), abs=1e-5)


@BOTH
def test_small_angles_are_resolved(function):
    """acos of a float32 cosine would give 0 or 3.5e-4."""
    tiny = 1e-5
    embeddings = torch.tensor([[1.0, tiny], [1.0, -tiny], [1.0, 5 * tiny]])
    result = function(embeddings, torch.tensor([0, 0, 1]), 2)
    assert result.intra_angle[0].item() == pytest.approx(tiny, rel=1e-2)
    assert result.inter_angle[0].item() == pytest.approx(5 * tiny, rel=1e-2)


@BOTH
def test_a_nan_embedding_invalidates_its_own_class(function):
    embeddings = torch.randn(6, 4)
    embeddings[0, 1] = math.nan
    result = function(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    assert result.intra_angle.isnan().tolist() == [True, False, False]
    assert result.nearest_class.tolist() == [-1, 2, 1]


@pytest.mark.cpu_only
def test_arrays_and_memory_maps_give_the_same_statistics(tmp_path):
    array = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    labels = np.arange(90) % 7
    expected = class_statistics(torch.from_numpy(array), torch.from_numpy(labels), 7)
    np.save(tmp_path / "embeddings.npy", array)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    for values in (array, mapped, mapped[:, ::1], array.astype(np.float64)):
        for a, b in zip(class_statistics(values, labels, 7), expected, strict=True):
            torch.testing.assert_close(a, b)
    half = class_statistics(array[::2].astype(np.float16), labels[::2], 7)  # strided rows
    torch.testing.assert_close(
        half.center, class_statistics(array[::2], labels[::2], 7).center, atol=1e-3, rtol=0
    )


@pytest.mark.cpu_only
@BOTH
def test_bad_arguments_are_named(function):
    embeddings = torch.randn(3, 4)
    with pytest.raises(ValueError, match="labels: expected -1 to 2, got 3 at position 2"):
        function(embeddings, torch.tensor([0, 1, 3]), 3)
    with pytest.raises(ValueError, match="embeddings: expected an"):
        function(torch.randn(3), torch.tensor([0, 1, 2]), 3)
    with pytest.raises(ValueError, match="labels: expected a tensor of integers"):
        function(embeddings, torch.zeros(3), 3)


def test_of_equal_cosines_the_lowest_class_wins(threads):
    """Copies of 7 orthogonal vectors: every class has an equal in nearly every tile."""
    classes, distinct = 600, 7
    kind = torch.arange(classes) % distinct
    result = class_statistics(torch.eye(distinct)[kind], torch.arange(classes), classes)
    first = torch.arange(classes) % distinct
    first[:distinct] += distinct  # the lowest of a kind is not its own neighbor
    assert torch.equal(result.nearest_class, first)
    assert (result.inter_angle == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_threads_change_nothing(threads, dtype):
    embeddings, labels = torch.randn(3000, 19).to(dtype), torch.randint(-1, 610, (3000,))
    result = class_statistics(embeddings, labels, 610)
    torch.set_num_threads(1)
    expected = class_statistics(embeddings, labels, 610)
    assert (expected.count == 0).any()
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0, equal_nan=True)


def test_numbering_of_classes_changes_nothing():
    classes = 600
    embeddings = torch.randn(1500, 21)
    labels = torch.cat([torch.arange(classes), torch.randint(classes, (900,))])
    number = torch.randperm(classes)
    result = class_statistics(embeddings, labels, classes)
    again = class_statistics(embeddings, number[labels], classes)
    assert torch.equal(again.nearest_class[number], number[result.nearest_class])
    for a, b in zip(result[:5], again[:5], strict=True):
        assert torch.equal(a, b[number])


@pytest.mark.parametrize("classes", AROUND_TILES)
def test_nearest_around_tile_sizes(classes):
    """One sample a class, the last one empty; angles on a circle have no near ties."""
    angle = torch.randperm(classes).double() * (2 * math.pi / (classes + 1.5)) ** 1.01
    embeddings = torch.stack([angle.cos(), angle.sin()], 1).float()
    result = class_statistics(embeddings, torch.arange(classes), classes + 1)
    x = F.normalize(embeddings.double())
    cosine = (x @ x.T).fill_diagonal_(-2)
    assert result.nearest_class[-1] == -1
    if classes == 1:
        assert result.nearest_class[0] == -1
        return
    nearest = cosine.gather(1, result.nearest_class[:-1, None])[:, 0]
    torch.testing.assert_close(nearest, cosine.amax(1), atol=3e-7, rtol=0)
    torch.testing.assert_close(result.inter_angle[:-1].double(), nearest.acos(), atol=1e-5, rtol=0)


def test_nan_rows_invalidate_their_classes_in_large_problems(threads):
    embeddings, labels = torch.randn(900, 5), torch.arange(900) % 300
    embeddings[123, 4], embeddings[299, 0] = math.nan, math.inf
    result = class_statistics(embeddings, labels, 300)
    invalid = torch.zeros(300, dtype=torch.bool)
    invalid[[123, 299]] = True
    for value in (result.intra_angle, result.inter_angle, result.center[:, 0]):
        assert torch.equal(value.isnan(), invalid)
    assert torch.equal(result.nearest_class == -1, invalid)
    assert not invalid[result.nearest_class[~invalid]].any()


def test_a_large_class_is_summed_in_double():
    embeddings = torch.randn(40_000, 3) * 0.1 + torch.tensor([1.0, 2.0, -3.0])
    result = class_statistics(embeddings, torch.zeros(40_000, dtype=torch.int64), 1)
    center = F.normalize(F.normalize(embeddings.double()).sum(0), dim=0)
    torch.testing.assert_close(result.center[0].double(), center, atol=1.2e-7, rtol=0)


def test_opcheck():
    embeddings, labels = torch.randn(9, 4), torch.arange(9) % 3
    torch.library.opcheck(torch.ops.fairloss.class_statistics, (embeddings, labels, 3))
