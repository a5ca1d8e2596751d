"""Sets of images written as files, records and arrays, and read back."""

from __future__ import annotations

import json
import struct
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic import write_folder

from fairloss.data import UnreadableImage, read_arrays, read_folder, write_arrays, write_records
from fairloss.data import convert as module
from fairloss.data.convert import convert_images, open_source
from fairloss.io.atomic import FormatError

KINDS = ("folder", "rec", "arrays")
SIZE = ((16, 16), 1)


@pytest.fixture
def faces(tmp_path):
    """Identities of 1, 3, 3 and 4 images."""
    return write_folder(tmp_path / "faces", [1, 3, 3, 4], size=16)


def tree(folder):
    """Return the content of every file that is not hidden."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def jpeg(value):
    buffer = BytesIO()
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def convert(source, output, kind, **options):
    convert_images(open_source(source, *SIZE), output, kind, **options)
    return output


def split_records(content):
    """Return the flag, labels and payload of each record, read by the definition of the format."""
    records, position = [], 0
    while position < len(content):
        magic, word = struct.unpack_from("<II", content, position)
        assert magic == 0xCED7230A
        assert word >> 29 == 0
        flag, label, *_ = struct.unpack_from("<IfQQ", content, position + 8)
        payload = content[position + 32 : position + 8 + word]
        labels = struct.unpack_from(f"<{flag}f", payload) if flag else (label,)
        records.append((labels, payload[4 * flag :]))
        position += 8 + (word + 3) // 4 * 4
    return records


def test_files_come_back_from_records_as_they_were(faces, tmp_path):
    (faces / "id1" / "photo.jpg").write_bytes(jpeg(9))
    records = convert(faces, tmp_path / "records", "rec")
    assert tree(convert(records, tmp_path / "files", "folder")) == tree(faces)


def test_records_come_back_from_files_as_they_were(tmp_path):
    """The file is that of `write_records`, whatever the content of an image is."""
    magic = struct.pack("<I", 0xCED7230A)  # which is cut out of a record where it is aligned
    images = [(label, jpeg(label) + magic * number) for label in range(3) for number in range(4)]
    write_records(tmp_path / "train.rec", images)
    files = convert(tmp_path / "train.rec", tmp_path / "files", "folder")
    assert list(tree(files).values()).count(images[3][1]) == 1
    records = convert(files, tmp_path / "records", "rec")
    for name in ("train.rec", "train.idx"):
        assert (records / name).read_bytes() == (tmp_path / name).read_bytes()
    again = convert(records, tmp_path / "again", "folder")
    assert tree(again) == tree(files)


def test_gaps_between_labels_are_closed_and_names_kept(tmp_path):
    write_records(tmp_path / "train.rec", [(label, jpeg(label)) for label in (2, 5, 11)])
    files = convert(tmp_path / "train.rec", tmp_path / "files", "folder")
    records = convert(files, tmp_path / "records", "rec")
    labels = [record[0] for record in split_records((records / "train.rec").read_bytes())]
    assert labels[1:4] == [(0,), (1,), (2,)]
    assert open_source(records).identities == ["2", "5", "11"]


def test_records_have_the_layout_of_insightface(faces, tmp_path):
    records = convert(faces, tmp_path / "records", "rec")
    content = (records / "train.rec").read_bytes()
    labels = [record[0] for record in split_records(content)]
    assert labels[0] == (12, 16)
    assert labels[1:12] == [(float(label),) for label in np.repeat(range(4), [1, 3, 3, 4])]
    assert labels[12:] == [(1, 2), (2, 5), (5, 8), (8, 12)]
    assert (records / "property").read_text(encoding="utf-8") == "4,16,16"
    for number, line in enumerate((records / "train.idx").read_text(encoding="utf-8").splitlines()):
        key, position = map(int, line.split("\t"))
        assert key == number
        assert content[position : position + 4] == struct.pack("<I", 0xCED7230A)


def test_damaged_images_of_a_known_format_are_copied(faces, tmp_path):
    damaged = sorted(faces.glob("*/*"))[:2]
    for path in damaged:
        path.write_bytes(jpeg(3)[:20])
    records = convert(faces, tmp_path / "records", "rec")
    assert (records / "property").read_text(encoding="utf-8") == "4,16,16"
    images = open_source(records)
    assert [images.read_encoded(number) for number in (0, 1)] == [jpeg(3)[:20]] * 2
    for path in faces.glob("*/*"):
        path.write_bytes(jpeg(3)[:20])
    records = convert(faces, tmp_path / "without", "rec")
    assert (records / "property").read_text(encoding="utf-8") == "4,16,16"  # of training


def test_arrays_are_what_training_reads_from_files(faces, tmp_path):
    (faces / "id1" / "002.png").write_bytes(b"no image")
    (faces / "id2" / "003.png").write_bytes(b"")
    (faces / "none").mkdir()
    (faces / "none" / "1.png").write_bytes(b"no image")
    with pytest.warns(UnreadableImage):
        read = read_folder(faces, *SIZE)
    with pytest.warns(UnreadableImage, match="3 unreadable images left out: id1/002.png"):
        arrays = read_arrays(convert(faces, tmp_path / "arrays", "arrays"), *SIZE)
    assert torch.equal(arrays.images(range(len(arrays))), read.images(range(len(read))))
    assert (arrays.names, arrays.identities) == (read.names, read.identities)
    assert torch.equal(arrays.labels, read.labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back_from_files_as_they_were(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, channels, 6, 9)).astype(np.uint8)
    labels, variants = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 2])
    (tmp_path / "arrays").mkdir()
    options = (labels, variants, ["a", "b"], ["x.jpg", "y", "z"], True)
    write_arrays(tmp_path / "arrays", [pixels], *options)
    for kind in ("folder", "rec"):
        files = convert(tmp_path / "arrays", tmp_path / kind, kind)
        read = open_source(files, (6, 9), channels)
        assert np.array_equal(read.images(range(5)).numpy(), pixels)
        assert read.identities == ["a", "b"]
    assert {path.name for path in (tmp_path / "folder" / "a").iterdir()} == {"x.jpg.png", "y.png"}
    back = convert(tmp_path / "folder", tmp_path / "back", "arrays") if channels == 1 else None
    assert (
        back is None
        or (back / "labels.npy").read_bytes() == (tmp_path / "arrays" / "labels.npy").read_bytes()
    )


def test_images_of_a_list_are_grouped_by_identity(tmp_path):
    for name, value in (("x/1.jpg", 10), ("y/1.jpg", 20), ("y/2.jpg", 30)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(value))
    (tmp_path / "list.txt").write_text(
        "y/1.jpg\t1\nx/1.jpg\t0\ny/2.jpg\t0\ny/1.jpg\t0\n", encoding="utf-8"
    )
    files = tree(convert(tmp_path / "list.txt", tmp_path / "files", "folder"))
    assert files == {
        "0/x_1.jpg": jpeg(10),
        "0/y_1.jpg": jpeg(20),
        "0/y_2.jpg": jpeg(30),
        "1/1.jpg": jpeg(20),
    }
    records = convert(tmp_path / "list.txt", tmp_path / "records", "rec")
    labels = [record[0] for record in split_records((records / "train.rec").read_bytes())]
    assert labels == [(5, 7), (0,), (0,), (0,), (1,), (1, 4), (4, 5)]


def test_labels_have_no_gap_where_an_identity_is_left_out(faces, tmp_path):
    (faces / "id0" / "000.png").write_bytes(b"no image")
    for kind in KINDS:
        with pytest.warns(UnreadableImage):
            output = convert(faces, tmp_path / kind, kind)
        assert open_source(output, *SIZE).identities == ["id1", "id2", "id3"]
    labels = [record[0] for record in split_records((tmp_path / "rec/train.rec").read_bytes())]
    assert labels[1:11] == [(float(label),) for label in np.repeat(range(3), [3, 3, 4])]


def test_two_images_that_would_be_one_file_are_refused(tmp_path):
    (tmp_path / "arrays").mkdir()
    options = (np.array([0, 0]), np.array([0, 1]), ["a"], ["x", "x.png"], True)
    write_arrays(tmp_path / "arrays", [np.zeros((2, 1, 4, 4), np.uint8)], *options)
    with pytest.raises(FormatError, match="2 images of 'a' have 1 different names"):
        convert(tmp_path / "arrays", tmp_path / "files", "folder")
    assert not (tmp_path / "files").exists()


class Stopped(Exception):
    pass


def stop_at(monkeypatch, writes):
    """Let a writer write half of an image and stop."""
    writers = dict(module.WRITERS)
    for kind, writer in writers.items():

        class Stopping(writer):
            def write(self, image):
                if image.number == writes:
                    super().write(image._replace(content=image.content[: len(image.content) // 2]))
                    for file in self.files.values():
                        file.flush()
                    raise Stopped
                super().write(image)

        monkeypatch.setitem(module.WRITERS, kind, Stopping)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writes", [0, 5])
def test_a_conversion_that_is_stopped_resumes(faces, tmp_path, monkeypatch, kind, writes):
    (faces / "id2" / "005.png").write_bytes(b"no image")
    batches = partial(module.decode_batches, batch_size=3)
    monkeypatch.setattr(module, "decode_batches", batches)
    options = {"positions": np.array([0, 1, 4, 5, 7, 8, 10, 9])}
    with pytest.warns(UnreadableImage):
        whole = convert(faces, tmp_path / "whole", kind, **options)
    output = tmp_path / "output"
    with monkeypatch.context() as patch:
        stop_at(patch, writes)
        with pytest.raises(Stopped):
            convert(faces, output, kind, **options)
    assert not output.exists()
    with pytest.warns(UnreadableImage, match="id2/005.png"):
        convert(faces, output, kind, **options)
    assert tree(output) == tree(whole)
    assert (output / module.MANIFEST).read_bytes() == (whole / module.MANIFEST).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"faces", "whole", "output"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversion_that_is_stopped_at_its_end_resumes(faces, tmp_path, monkeypatch, kind):
    whole = convert(faces, tmp_path / "whole", kind)
    for name in ("replace", "rmtree"):
        output = tmp_path / name
        with monkeypatch.context() as patch:
            stop_at_the_end(patch, module.os if name == "replace" else module.shutil, name)
            with pytest.raises(Stopped):
                convert(faces, output, kind)
        assert output.exists() == (name == "rmtree")
        assert tree(convert(faces, output, kind)) == tree(whole)
        assert not (tmp_path / f".{name}.partial").exists()


def stop_at_the_end(patch, library, name):
    """Let the call that makes the output appear stop, or the one that follows it."""
    original = getattr(library, name)

    def stop(path, *arguments, **options):
        if path.name == "complete" or (path.name.endswith(".partial") and path.exists()):
            raise Stopped
        original(path, *arguments, **options)

    patch.setattr(library, name, stop)


def test_a_resumed_conversion_decodes_the_rest_alone(faces, tmp_path, monkeypatch):
    batches = partial(module.decode_batches, batch_size=4)
    monkeypatch.setattr(module, "decode_batches", batches)
    with monkeypatch.context() as patch:
        stop_at(patch, 9)
        with pytest.raises(Stopped):
            convert(faces, tmp_path / "output", "rec")
    reports = []
    convert(faces, tmp_path / "output", "rec", progress=lambda *done: reports.append(done))
    assert reports == [(11, 11)]


def test_other_contents_are_refused(faces, tmp_path):
    output = convert(faces, tmp_path / "output", "folder")
    convert(faces, output, "folder")
    with pytest.raises(ValueError, match="expected the same conversion .*got another kind"):
        convert(faces, output, "rec")
    (faces / "id0" / "more.jpg").write_bytes(jpeg(3))
    with pytest.raises(ValueError, match="expected the same conversion .*got another source"):
        convert(faces, output, "folder")
    with pytest.raises(ValueError, match="expected a new folder, got a folder of other files"):
        convert(faces, faces, "rec")
    assert "id0/more.jpg" not in tree(output)


def test_a_source_that_changed_while_a_conversion_was_stopped_is_refused(
    faces, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(Stopped):
            convert(faces, tmp_path / "output", "rec")
    (faces / "id0" / "000.png").write_bytes(jpeg(3))
    with pytest.raises(ValueError, match=r"in part in .*output.partial: .*got another source"):
        convert(faces, tmp_path / "output", "rec")


def test_a_file_that_changes_under_a_conversion_stops_it(faces, tmp_path):
    images = open_source(faces, *SIZE)
    (faces / "id0" / "000.png").write_bytes(jpeg(3))
    with pytest.raises(FormatError, match=r"000\.png: changed"):
        convert_images(images, tmp_path / "output", "rec")
    assert not (tmp_path / "output").exists()


def test_a_set_without_a_readable_image_leaves_nothing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        (tmp_path / "faces" / name / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"images: .*got 2, none of them readable, as 'a/1.png'"):
        convert(tmp_path / "faces", tmp_path / "output", "rec")
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


@pytest.mark.parametrize("identity", ["../up", "a/b", ".hidden", "..", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path, identity):
    (tmp_path / "arrays").mkdir()
    options = (np.array([0, 1]), np.array([0, 0]), ["fine", identity], ["x"], True)
    write_arrays(tmp_path / "arrays", [np.zeros((2, 1, 4, 4), np.uint8)], *options)
    with pytest.raises(ValueError, match="identities: expected names of folders, got 1 other"):
        convert(tmp_path / "arrays", tmp_path / "output", "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["arrays"]


def test_names_beside_records_must_fit_them(faces, tmp_path):
    records = convert(faces, tmp_path / "records", "rec")
    names = json.loads((records / "train.json").read_text(encoding="utf-8"))
    (records / "train.json").write_text(
        json.dumps(names | {"identities": ["a", "b"]}), encoding="utf-8"
    )
    with pytest.raises(FormatError, match='train.json: "identities": expected 4 names'):
        open_source(records, *SIZE)


def test_names_of_records_that_were_replaced_are_refused(faces, tmp_path):
    records = convert(faces, tmp_path / "records", "rec")
    content = records / "train.rec"
    size = content.stat().st_size
    items = [(label, jpeg(label)) for label in np.repeat(range(4), [1, 3, 3, 4]).tolist()]
    write_records(content, items)
    problem = f"expected names of {content.stat().st_size} bytes of records, got those of {size}"
    with pytest.raises(FormatError, match=f"train.json: {problem}"):
        open_source(records, *SIZE)


def test_that_mirror_images_show_something_else_is_kept_in_arrays_alone(tmp_path):
    (tmp_path / "arrays").mkdir()
    options = (np.array([0, 1]), np.array([0, 0]), ["a", "b"], ["x"], False)
    write_arrays(tmp_path / "arrays", [np.zeros((2, 1, 4, 4), np.uint8)], *options)
    with pytest.warns(UserWarning, match="mirror: false is not kept"):
        convert(tmp_path / "arrays", tmp_path / "files", "folder")
    assert not open_source(convert(tmp_path / "arrays", tmp_path / "same", "arrays")).mirror
