"""The data set in memory: indexing, subsets and refusals, on cases small enough to see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fairloss.data import FaceImages
from fairloss.data.face_images import allocate_pixels

MakeFaces = Callable[[list[int]], FaceImages]


def values(faces: FaceImages) -> list[int]:
    return faces.images(range(len(faces)))[:, 0, 0, 0].tolist()


def test_attributes_and_items(make_faces: MakeFaces) -> None:
    faces = make_faces([2, 1, 3])
    assert len(faces) == 6
    assert faces.num_classes == 3
    assert faces.labels.dtype == torch.int64
    assert faces.labels.tolist() == [0, 0, 1, 2, 2, 2]
    assert faces.counts.dtype == torch.int64
    assert faces.counts.tolist() == [2, 1, 3]
    assert (faces.channels, faces.image_size) == (1, (2, 3))
    image, label = faces[4]
    assert torch.equal(image, torch.full((1, 2, 3), 4, dtype=torch.uint8))
    assert label == 2
    assert type(label) is int
    assert repr(faces) == "FaceImages(6 images of 3 identities, 1x2x3)"


def test_images_in_the_order_asked(make_faces: MakeFaces) -> None:
    faces = make_faces([2, 1, 3])
    for indices in ([5, 0, 0], torch.tensor([5, 0, 0]), np.array([5, 0, 0])):
        images = faces.images(indices)
        assert images.dtype == torch.uint8
        assert images.shape == (3, 1, 2, 3)
        assert images[:, 0, 0, 0].tolist() == [5, 0, 0]
    assert faces.images([]).shape == (0, 1, 2, 3)


def test_works_with_a_loader(make_faces: MakeFaces) -> None:
    loader = torch.utils.data.DataLoader(make_faces([2, 1]), batch_size=3)
    images, labels = next(iter(loader))
    assert images.shape == (3, 1, 2, 3)
    assert labels.tolist() == [0, 0, 1]


def test_subset_drops_and_relabels(make_faces: MakeFaces) -> None:
    part = make_faces([2, 1, 3]).subset([5, 1, 3])
    assert part.identities == ["p0", "p2"]
    assert part.labels.tolist() == [1, 0, 1]
    assert part.names == ["p2/5.png", "p0/1.png", "p2/3.png"]
    assert part.counts.tolist() == [1, 2]
    assert values(part) == [5, 1, 3]


def test_of_identities(make_faces: MakeFaces) -> None:
    part = make_faces([2, 1, 3]).of_identities(["p2", "p1"])
    assert part.identities == ["p1", "p2"]
    assert part.labels.tolist() == [0, 1, 1, 1]
    assert values(part) == [2, 3, 4, 5]
    with pytest.raises(
        ValueError, match=r"identities: expected names .* got 1 unknown, the first 'p9'"
    ):
        make_faces([2, 1]).of_identities(["p0", "p9"])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "at least one image"),
        ([0, 6], r"0\.\.5, got 0\.\.6"),
        ([-1], r"0\.\.5, got -1"),
        (torch.ones(6, dtype=torch.bool), "integers, got torch.bool"),
        (torch.ones(6), "integers, got torch.float32"),
        (torch.zeros(1, 2, dtype=torch.int64), r"shape \(1, 2\)"),
    ],
)
def test_indices_refused(make_faces: MakeFaces, indices: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_faces([2, 1, 3]).subset(indices)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": torch.zeros(2, 1, 4, 4)}, "uint8"),
        ({"pixels": torch.zeros(2, 4, 4, dtype=torch.uint8)}, r"shape \(2, 4, 4\)"),
        ({"labels": [0]}, r"labels of shape \(1,\)"),
        ({"labels": [0, 2]}, r"0\.\.1, got 0\.\.2"),
        ({"labels": [0, 0]}, "identities: expected an image of each, got none of 'b'"),
        ({"names": ["a/1"]}, "1 names"),
        ({"identities": ["a", "a"]}, "distinct"),
    ],
)
def test_construction_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "pixels": torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        "labels": [0, 1],
        "identities": ["a", "b"],
        "names": ["a/1", "b/1"],
    }
    with pytest.raises(ValueError, match=message):
        FaceImages(**(arguments | change))  # type: ignore[arg-type]


def test_memory_limit_is_exact() -> None:
    assert allocate_pixels(10, 3, (4, 5), memory_limit=600).shape == (10, 3, 4, 5)
    with pytest.raises(
        ValueError, match=r"memory_limit: .* for 10 images of 3x4x5, got .* lower image_size"
    ):
        allocate_pixels(10, 3, (4, 5), memory_limit=599)
    with pytest.raises(ValueError, match=r"expected 350\.48 GiB for .*, got 8\.00 GiB"):
        allocate_pixels(10_000_000, 3, (112, 112))
    with pytest.raises(ValueError, match="channels: expected one of 1, 3, got 4"):
        allocate_pixels(1, 4, (4, 4))
    with pytest.raises(ValueError, match=r"image_size: expected .*, got \(0, 4\)"):
        allocate_pixels(1, 3, (0, 4))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u8", ">i4"])
def test_labels_of_every_integer_type(dtype: str) -> None:
    pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    faces = FaceImages(pixels, np.array([0, 1, 1], dtype), ["a", "b"], ["a/0", "b/0", "b/1"])
    assert faces.labels.tolist() == [0, 1, 1]
    assert faces.subset(np.array([2], dtype)).names == ["b/1"]


@pytest.mark.parametrize("labels", [[0.9, 1.2, 1.0], torch.tensor([0.0, 1.0, 1.5])])
def test_labels_of_floats_are_refused_instead_of_cut(labels) -> None:
    pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match="labels: expected a list of integers, got .*float"):
        FaceImages(pixels, labels, ["a", "b"], ["a/0", "b/0", "b/1"])
