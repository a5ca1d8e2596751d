"""Sets that decode images when asked: the pixels, names and labels of `read_folder`."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest
import torch
from record_cases import IMAGES, face_set, jpeg, write
from torch.utils.data import DataLoader

from fairloss.data import (
    FaceImages,
    FolderImages,
    LabeledImages,
    ListedImages,
    RecordImages,
    UnreadableImage,
    open_images,
    read_folder,
    split_identities,
    write_arrays,
)
from fairloss.io.atomic import FormatError
from fairloss.training.identities import identities_record

SIZE = (16, 16)


@pytest.fixture
def folder(tmp_path) -> Path:
    """The images of IMAGES in folders s0, s1 and s10."""
    for number, (label, image) in enumerate(IMAGES):
        path = tmp_path / "faces" / f"s{[0, 1, 10][int(label)]}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return tmp_path / "faces"


@pytest.fixture
def sets(folder, tmp_path) -> dict[str, LabeledImages]:
    """The same images and labels in a set of each kind."""
    rec = write(tmp_path / "train.rec", face_set(IMAGES))
    lines = [f"{name}\t{name.split('/')[0]}\n" for name in read_folder(folder, SIZE).names]
    (tmp_path / "list.txt").write_text("".join(lines), encoding="utf-8")
    return {
        "folder": FolderImages(folder, SIZE),
        "list": ListedImages(tmp_path / "list.txt", folder, SIZE),
        "records": RecordImages(rec, SIZE),
    }


KINDS = ("folder", "list", "records")


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_labels_are_those_of_the_folder_in_memory(folder, sets, kind):
    memory, lazy = read_folder(folder, SIZE), sets[kind]
    assert (memory.in_memory, lazy.in_memory) == (True, False)
    assert len(lazy) == len(memory) == 12
    assert torch.equal(lazy.labels, memory.labels)
    assert torch.equal(lazy.counts, memory.counts)
    everything = lazy.images(range(12))
    assert everything.is_contiguous()
    assert torch.equal(everything, memory.images(range(12)))
    assert torch.equal(lazy.images([7, 0, 7]), memory.images([7, 0, 7]))
    assert lazy.images([]).shape == (0, 3, 16, 16)
    image, label = lazy[5]
    assert image.is_contiguous()
    assert torch.equal(image, memory[5][0])
    assert (label, type(label)) == (1, int)
    assert (lazy.channels, lazy.image_size, lazy.mirror) == (3, SIZE, True)
    if kind != "records":
        assert list(lazy.names) == memory.names
        assert lazy.identities == memory.identities == ["s0", "s1", "s10"]
        assert identities_record(lazy) == identities_record(memory)


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset_stays_lazy_and_is_the_one_in_memory(folder, sets, kind):
    memory, lazy = read_folder(folder, SIZE).subset([9, 2, 8]), sets[kind].subset([9, 2, 8])
    assert type(lazy) is type(sets[kind])
    assert torch.equal(lazy.images([0, 1, 2]), memory.images([0, 1, 2]))
    assert lazy.labels.tolist() == memory.labels.tolist() == [1, 0, 1]
    names = [sets[kind].names[index] for index in (9, 2, 8)]
    assert list(lazy.names) == names
    assert lazy.read_encoded(1) == IMAGES[2][1]
    seen, unseen = split_identities(sets[kind], 1, seed=0)
    assert sorted([*seen.names, *unseen.names]) == sorted(sets[kind].names)
    with pytest.raises(ValueError, match=r"indices: expected 0\.\.2, got -1"):
        lazy.images([-1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_reads_the_same_images(sets, kind, copied, monkeypatch, tmp_path):
    images = sets[kind].images(range(12))
    other = copied(sets[kind])
    monkeypatch.chdir(tmp_path.parent)
    assert torch.equal(other.images(range(12)), images)
    assert list(other.names) == list(sets[kind].names)


def test_a_pickle_made_with_a_relative_path_is_read_from_another_folder(
    folder, tmp_path, monkeypatch
):
    write(tmp_path / "train.rec", face_set(IMAGES))
    monkeypatch.chdir(tmp_path)
    sets = [RecordImages("train.rec", SIZE), FolderImages("faces", SIZE)]
    expected, pickled = sets[0].images(range(12)), pickle.dumps(sets)
    monkeypatch.chdir("/")
    for images in pickle.loads(pickled):
        assert torch.equal(images.images(range(12)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_forked_workers_read_the_same_batches(sets, kind):
    images = sets[kind]
    expected = images.images(range(12))  # files are open in this process too
    loader = DataLoader(images, 5, num_workers=2, multiprocessing_context="fork")
    pixels, labels = zip(*loader, strict=True)
    assert torch.equal(torch.cat(pixels), expected)
    assert torch.equal(torch.cat(labels), images.labels)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_spawned_workers_read_the_same_batches(sets, kind):
    loader = DataLoader(sets[kind], 5, num_workers=1, multiprocessing_context="spawn")
    assert torch.equal(torch.cat([pixels for pixels, _ in loader]), sets[kind].images(range(12)))


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_a_file_that_changes_under_a_run_is_refused(folder, sets, kind):
    file = folder / sets[kind].names[3]
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(FormatError, match=rf"{file.name}: changed since the data set was opened"):
        sets[kind][3]
    file.unlink()
    with pytest.raises(FormatError, match=rf"{file.name}: cannot be read: No such file"):
        sets[kind][3]
    assert sets[kind][4][1] == 1


def test_an_image_that_cannot_be_decoded_is_named_when_it_is_asked_for(folder):
    (folder / "s1" / "5.jpg").write_bytes(b"no image")
    images = FolderImages(folder, SIZE)
    assert len(images) == 12
    with pytest.raises(FormatError, match=r"s1/5\.jpg: cannot be read as an image: "):
        images[5]


def test_what_a_folder_leaves_out_is_named_as_when_it_is_read(folder):
    (folder / "s1" / "notes.xyz").write_bytes(b"")
    (folder / "empty").mkdir()
    with pytest.warns(UnreadableImage) as heard:
        images = FolderImages(folder, SIZE)
    texts = [str(warning.message) for warning in heard]
    assert texts[0].startswith("1 files without an image suffix left out: 1 .xyz")
    assert texts[1] == "1 identities without an image left out: empty"
    assert images.identities == ["s0", "s1", "s10"]
    (folder / "s1" / "gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(FormatError, match=r"s1/gone\.jpg: cannot be read"):
        FolderImages(folder, SIZE)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with (
        pytest.warns(UnreadableImage, match="without an image"),
        pytest.raises(FormatError, match="no image in its 1 folders"),
    ):
        FolderImages(tmp_path, SIZE)


@pytest.mark.parametrize("separator", ["\t", " ", "  "])
def test_labels_of_a_list_are_numbers_in_order_of_their_value(folder, tmp_path, separator):
    names = read_folder(folder, SIZE).names
    lines = [
        f"{name}{separator}{number}\n" for name, number in zip(names, [10, 2] * 6, strict=True)
    ]
    (tmp_path / "list.txt").write_text("".join(lines), encoding="utf-8")
    images = ListedImages(tmp_path / "list.txt", folder, SIZE)
    assert images.identities == ["2", "10"]
    assert images.labels.tolist() == [1, 0] * 6


def test_paths_of_a_list_may_have_spaces_and_be_relative_to_it_or_absolute(tmp_path):
    for name in ("a b.jpg", "c.jpg", "d\udcff.jpg"):
        (tmp_path / name).write_bytes(jpeg(len(name)))
    text = f"a b.jpg\tfirst one\n\n{tmp_path}/c.jpg\tsecond\nd\udcff.jpg\tsecond\r\n"
    (tmp_path / "list.txt").write_bytes(text.encode(errors="surrogateescape"))
    images = ListedImages(tmp_path / "list.txt", image_size=SIZE)
    assert images.identities == ["first one", "second"]
    assert images.names[0] == "a b.jpg"
    assert images.names[-1] == "d\udcff.jpg"
    assert images.names[:2] == ["a b.jpg", f"{tmp_path}/c.jpg"]
    assert [images.read_encoded(index) for index in range(3)] == [jpeg(7), jpeg(5), jpeg(6)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r"list\.txt: no line in it"),
        ("a.jpg\t1\nb.jpg\n", r"list\.txt: expected lines path<TAB>label, got 'b\.jpg'"),
        ("a.jpg\t1\tb\tc\n", r"list\.txt: expected lines path<TAB>label, got 'a\.jpg 1 b c'"),
        ("a.jpg\t1\n", r"a\.jpg: cannot be read: No such file"),
        ("a\0.jpg\t1\n", r"list\.txt: not a text file"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, text, problem):
    (tmp_path / "list.txt").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=problem):
        ListedImages(tmp_path / "list.txt", image_size=SIZE)


def test_the_kind_of_a_set_is_that_of_its_path(folder, tmp_path, sets):
    pixels = read_folder(folder, SIZE).images(range(12)).numpy()
    labels = sets["folder"].labels.numpy()
    write_arrays(tmp_path / "arrays", [pixels], labels, labels, ["a", "b", "c"], "abc", True)
    lines = [f"faces/{name}\t{name.split('/')[0]}\n" for name in sets["folder"].names]
    (tmp_path / "list.txt").write_text("".join(lines), encoding="utf-8")
    needed = 12 * 3 * 16 * 16
    for path, limit, kind in (
        (folder, needed, FaceImages),
        (folder, needed - 1, FolderImages),
        (tmp_path / "arrays", 0, FaceImages),
        (tmp_path / "train.rec", needed, RecordImages),
        (tmp_path, needed, RecordImages),
        (str(tmp_path / "list.txt"), needed, ListedImages),
    ):
        images = open_images(path, SIZE, 3, limit)
        assert type(images) is kind
        assert torch.equal(images.images(range(12)), sets["folder"].images(range(12)))
    for change, problem in (
        ({"channels": 2}, "channels: expected one of 1, 3, got 2"),
        ({"image_size": (0, 4)}, "image_size: expected"),
    ):
        for path in (folder, tmp_path):
            with pytest.raises(ValueError, match=problem):
                open_images(path, **({"image_size": SIZE} | change))
    with pytest.raises(ValueError, match=r"folder .*nowhere.*: expected folder/identity/image"):
        open_images(tmp_path / "nowhere", SIZE)
    with pytest.raises(FormatError, match="missing.rec: cannot be read: No such file"):
        open_images(tmp_path / "missing.rec", SIZE)


def test_names_are_shared_and_not_strings(sets):
    names = sets["records"].names
    assert len(pickle.dumps(names)) < 12 * 40
    with pytest.raises(IndexError):
        names[12]
    assert names[-1] == names[11] == "2/12"
    assert "1/5" in names
    assert names.index("1/5") == 4


def test_a_descriptor_of_a_record_file_is_closed_with_its_set(tmp_path):
    descriptors = Path(f"/proc/{os.getpid()}/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc")
    rec = write(tmp_path / "train.rec", face_set(IMAGES))
    images = RecordImages(rec, SIZE)
    linked = [link for link in descriptors.iterdir() if link.exists() and link.samefile(rec)]
    assert len(linked) == 1
    del images
    assert not linked[0].exists() or not linked[0].samefile(rec)
