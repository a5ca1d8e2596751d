"""A folder of arrays: round trips without reading it into memory, and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import write_folder

from fairloss.data import image_batches, read_images, write_arrays
from fairloss.data.images import list_identified, may_mirror
from fairloss.io.atomic import FormatError
from fairloss.io.mapped import MappedArray

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 6), dtype=np.uint8)
LABELS = np.array([0, 0, 1, 2, 2])
VARIANTS = np.array([1, 0, 1, 0, 1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = [PIXELS[:2], PIXELS[2:]]
    identities, variants = ["a", "b", "c"], ["serif", "sans"]
    write_arrays(tmp_path / "set", parts, LABELS, VARIANTS, identities, variants, mirror=False)
    return tmp_path / "set"


def test_round_trip(folder: Path):
    faces = read_images(folder, (4, 6), 1)
    assert faces.identities == ["a", "b", "c"]
    assert faces.names == ["a/sans", "a/serif", "b/sans", "c/serif", "c/sans"]
    assert faces.labels.tolist() == LABELS.tolist()
    assert torch.equal(faces.images(range(5)), torch.from_numpy(PIXELS))
    assert (faces.mirror, faces.subset([0, 4]).mirror) == (False, False)
    files = {"images.npy", "labels.npy", "variants.npy", "index.json"}
    assert {path.name for path in folder.iterdir()} == files


def test_pixels_stay_on_disk_and_may_not_change_while_they_are_read(folder: Path):
    faces = read_images(folder, (4, 6), 1)
    assert isinstance(vars(faces)["_mapped"], MappedArray)
    path = folder / "images.npy"
    os.truncate(path, path.stat().st_size - PIXELS[0].size)
    for read in (lambda: faces.images([0]), lambda: faces[0], lambda: faces.subset([0])):
        with pytest.raises(FormatError, match="images.npy: changed while it was read"):
            read()


def test_writing_to_an_image_does_not_reach_the_file(folder: Path):
    before = (folder / "images.npy").read_bytes()
    read_images(folder, (4, 6), 1)[0][0].zero_()
    assert (folder / "images.npy").read_bytes() == before


def test_other_shapes_are_refused(folder: Path):
    with pytest.raises(
        ValueError,
        match=r"expected images of image_size=\[6, 4\], .* got image_size=\[4,6\], channels=1",
    ):
        read_images(folder, (6, 4), 1)
    with pytest.raises(ValueError, match="expected .*channels=3, got"):
        read_images(folder, (4, 6), 3)


def test_another_version_is_refused(folder: Path):
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    (folder / "index.json").write_text(json.dumps(index | {"version": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match="index.json: expected a JSON object of version 1"):
        read_images(folder, (4, 6), 1)


def test_a_folder_of_sets_names_them(folder: Path):
    with pytest.raises(ValueError, match="expected one set of images, got several sets: set"):
        read_images(folder.parent, (4, 6), 1)


def test_as_many_images_as_labels(tmp_path: Path):
    with pytest.raises(ValueError, match="parts: expected 5 rows in all, got 2"):
        write_arrays(tmp_path, [PIXELS[:2]], LABELS, VARIANTS, ["a"], ["x"], mirror=True)
    assert list(tmp_path.iterdir()) == []


def test_listing_agrees_with_reading(folder: Path, tmp_path: Path):
    files = write_folder(tmp_path / "faces", [2, 1])
    for images, size, mirror in ((folder, (4, 6), False), (files, (32, 32), True)):
        faces = read_images(images, size, 1)
        names, identities = list_identified(images)
        assert names == faces.names
        assert identities == [faces.identities[label] for label in faces.labels.tolist()]
        assert may_mirror(images) is faces.mirror is mirror
    with pytest.raises(ValueError, match="expected one set of images, got several sets: set"):
        list_identified(tmp_path)


def test_batches_follow_the_names(folder: Path):
    names = ["c/sans", "a/serif", "b/sans"]
    result = list(image_batches(folder, names, (4, 6), 1, batch_size=2))
    assert [len(batch) for batch in result] == [2, 1]
    assert torch.equal(torch.cat(result), torch.from_numpy(PIXELS[[4, 1, 2]]))


def test_batches_refuse_what_arrays_do_not_hold(folder: Path):
    with pytest.raises(FormatError, match="1 of 2 images, the first 'b/serif'; .* like 'a/sans'"):
        next(image_batches(folder, ["a/sans", "b/serif"], (4, 6), 1))
    with pytest.raises(
        ValueError, match="landmarks: expected a folder of image files to align, got arrays"
    ):
        next(image_batches(folder, ["a/sans"], (4, 6), 1, points=np.zeros((1, 5, 2))))
    np.save(folder / "variants.npy", np.zeros(5, dtype=np.int32))
    with pytest.raises(FormatError, match="two images have one name"):
        next(image_batches(folder, ["a/serif"], (4, 6), 1))


AS_POSITIONS = {
    "uint8": LABELS.astype(np.uint8),
    "uint64": LABELS.astype(np.uint64),
    "big-endian": LABELS.astype(">i4"),
    "a column": LABELS[:, None],
}


@pytest.mark.parametrize("kind", AS_POSITIONS)
def test_labels_of_every_integer_type_are_read(folder: Path, kind: str):
    np.save(folder / "labels.npy", AS_POSITIONS[kind])
    faces = read_images(folder, (4, 6), 1)
    assert faces.labels.tolist() == LABELS.tolist()
    assert faces.names[3] == "c/serif"


@pytest.mark.parametrize(
    ("file", "array", "problem"),
    [
        ("labels", LABELS + 0.5, r"expected \(N,\) integers, got shape \(5,\) and type float64"),
        ("labels", LABELS + 1, r"expected positions 0\.\.2, got 1\.\.3"),
        ("variants", -VARIANTS, r"expected positions 0\.\.1, got -1\.\.0"),
        ("variants", VARIANTS[:4], "5 labels, but 4 variants"),
        ("images", PIXELS[:, 0], r"expected \(N, channels, H, W\) uint8, got shape \(5, 4, 6\)"),
    ],
)
def test_other_arrays_are_refused_by_what_they_hold(folder: Path, file, array, problem):
    np.save(folder / f"{file}.npy", array)
    with pytest.raises(FormatError, match=problem):
        read_images(folder, (4, 6), 1)
