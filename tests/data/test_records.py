"""RecordIO files: what others write is read, damage is named, and what is written is readable."""

from __future__ import annotations

import os
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from record_cases import IMAGES, MAGIC, content, face_set, jpeg, part, write

from fairloss.data import RecordImages, record_writer, write_records
from fairloss.io.atomic import FormatError

SIZE = (16, 16)


def encoded(images: RecordImages) -> list[bytes]:
    return [images.read_encoded(index) for index in range(len(images))]


@pytest.fixture
def rec(tmp_path):
    return write(tmp_path / "train.rec", face_set(IMAGES))


@pytest.mark.parametrize("index", [True, False])
def test_images_of_a_face_set_are_those_before_its_identities(tmp_path, index):
    path = write(tmp_path / "train.rec", face_set(IMAGES), index)
    images = RecordImages(path, SIZE)
    assert encoded(images) == [image for _, image in IMAGES]
    assert images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert images.counts.tolist() == [4, 4, 4]
    assert images.identities == ["0", "1", "2"]
    assert list(images.names) == [f"{(key - 1) // 4}/{key}" for key in range(1, 13)]
    assert not images.in_memory
    assert repr(images) == "RecordImages(12 images of 3 identities, 3x16x16)"


@pytest.mark.parametrize("index", [True, False])
def test_a_file_without_record_0_of_identities_is_read_from_its_first_record(tmp_path, index):
    path = write(tmp_path / "a.rec", [part(content(*image)) for image in IMAGES], index)
    images = RecordImages(path, SIZE)
    assert encoded(images) == [image for _, image in IMAGES]
    assert images.names[0] == "0/0"


def test_the_first_of_several_labels_is_the_identity(tmp_path):
    records = [part(content([label, 7.5, 9.25], image)) for label, image in IMAGES]
    images = RecordImages(write(tmp_path / "a.rec", records), SIZE)
    assert encoded(images) == [image for _, image in IMAGES]
    assert images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_labels_with_gaps_are_closed_and_name_the_identities(tmp_path):
    records = [part(content(label, jpeg(0))) for label in (900, 7, 16777215, 7)]
    images = RecordImages(write(tmp_path / "a.rec", records), SIZE)
    assert images.identities == ["7", "900", "16777215"]
    assert images.labels.tolist() == [1, 0, 2, 0]
    assert list(images.names) == ["900/0", "7/1", "16777215/2", "7/3"]


def test_images_come_in_the_order_of_their_keys(tmp_path):
    path = write(tmp_path / "a.rec", [part(content(*image)) for image in IMAGES])
    lines = path.with_suffix(".idx").read_text(encoding="utf-8").splitlines(keepends=True)
    path.with_suffix(".idx").write_text("".join(reversed(lines)), encoding="utf-8")
    assert encoded(RecordImages(path, SIZE)) == [image for _, image in IMAGES]


def split(data: bytes) -> bytes:
    """Encode a record as its writer does: cut at every magic number at a multiple of 4."""
    pieces = [b""]
    for start in range(0, len(data), 4):
        word = data[start : start + 4]
        if word == MAGIC:
            pieces.append(b"")
        else:
            pieces[-1] += word
    kinds = [0] if len(pieces) == 1 else [1, *[2] * (len(pieces) - 2), 3]
    return b"".join(part(piece, kind) for piece, kind in zip(pieces, kinds, strict=True))


PAYLOADS = {
    "one": jpeg(0) + bytes(-len(jpeg(0)) % 4) + MAGIC + b"tail",
    "two": MAGIC + b"1234" + MAGIC + b"xyz",
    "beside each other": b"1234" + MAGIC + MAGIC + MAGIC,
    "not aligned": b"12" + MAGIC + b"34567",
    "alone": MAGIC,
}


@pytest.mark.parametrize("index", [True, False])
def test_split_payloads_are_joined_by_the_magic_number(tmp_path, index):
    records = [split(content(0, payload)) for payload in PAYLOADS.values()]
    assert [len(record.split(MAGIC)) - 1 for record in records] == [2, 3, 4, 2, 2]
    images = RecordImages(write(tmp_path / "a.rec", records, index), SIZE)
    assert encoded(images) == list(PAYLOADS.values())


def test_a_header_may_be_split_too(tmp_path):
    number = struct.unpack("<f", MAGIC)[0]  # a label whose bytes are the magic number
    data = content([1.0, number], b"image")
    images = RecordImages(write(tmp_path / "a.rec", [split(data)]), SIZE)
    assert encoded(images) == [b"image"]
    assert images.identities == ["1"]


@pytest.mark.parametrize("label", [2.0**24, 2.0**31, 0.5, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("several", [True, False])
def test_labels_that_are_no_exact_integers_are_refused(tmp_path, label, several):
    records = [part(content(0, jpeg(0))), part(content([label] if several else label, jpeg(0)))]
    path = write(tmp_path / "a.rec", records)
    problem = re.escape(
        f"a.rec: record 1 has the label {label}, expected an integer in 0..16777215"
    )
    with pytest.raises(FormatError, match=problem):
        RecordImages(path, SIZE)


def damaged(data: bytearray, kind: str) -> bytearray:
    """Damage a face set whose records 1.. are of one part."""
    second = struct.unpack_from("<I", data, 4)[0] + 8
    changes = {
        "magic": (second, b"\0\0\0\0"),
        "kind": (second + 7, b"\xff"),
        "flag": (second + 8, b"\xff\xff\xff\x7f"),
        "end": (32, struct.pack("<f", 14.0)),
        "end of nan": (32, struct.pack("<f", float("nan"))),
    }
    position, value = changes[kind]
    data[position : position + len(value)] = value
    return data


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("magic", "record 1"),
        ("kind", "record 1"),
        ("flag", "record 1 is too short for its header and labels"),
        ("end", "record 0: expected images 1.. before 14, got 12 of 1..12"),
        ("end of nan", "record 0: expected images 1.. before nan"),
    ],
)
def test_damage_is_named_with_its_record(rec, kind, problem, index):
    rec.write_bytes(damaged(bytearray(rec.read_bytes()), kind))
    if not index:
        rec.with_suffix(".idx").unlink()
    with pytest.raises(FormatError, match=rf"train\.(rec|idx): {re.escape(problem)}"):
        RecordImages(rec, SIZE)


@pytest.mark.parametrize("index", [True, False])
def test_a_truncated_file_is_refused_wherever_it_ends(rec, index):
    data = rec.read_bytes()
    if not index:
        rec.with_suffix(".idx").unlink()
    for size in [*range(60), *range(60, len(data), 211), len(data) - 9]:
        rec.write_bytes(data[:size])
        with pytest.raises(FormatError, match=r"train\.(rec|idx): "):
            RecordImages(rec, SIZE)


def test_a_truncated_split_record_is_refused(tmp_path):
    records = [part(content(0, jpeg(0))), split(content(0, PAYLOADS["two"]))]
    path = write(tmp_path / "a.rec", records)
    data = path.read_bytes()
    for size in range(len(records[0]) + 1, len(data)):
        path.write_bytes(data[:size])
        if len(data) - size > 1:  # one byte of padding may be missing
            with pytest.raises(FormatError, match=r"a\.(rec|idx): record 1"):
                RecordImages(path, SIZE)


def test_an_index_into_the_middle_of_a_record_is_refused(tmp_path):
    path = write(tmp_path / "a.rec", [split(content(0, PAYLOADS["two"]))])
    middle = path.read_bytes().index(MAGIC, 4)
    path.with_suffix(".idx").write_text(f"0\t0\n1\t{middle}\n", encoding="utf-8")
    with pytest.raises(FormatError, match=rf"a\.idx: record 1 does not begin at byte {middle}"):
        RecordImages(path, SIZE)


def test_the_index_of_another_file_is_refused(rec, tmp_path):
    other = write(tmp_path / "other.rec", face_set([(0.0, jpeg(0, quality=20)), *IMAGES]))
    rec.with_suffix(".idx").write_bytes(other.with_suffix(".idx").read_bytes())
    with pytest.raises(FormatError, match=r"train\.idx: record 2 .*; is it the index of another"):
        RecordImages(rec, SIZE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected lines"),
        ("0\t0\n1\n", "expected lines"),
        ("0\t0\nx\t3\n", "expected lines"),
        ("0\t0\n1\t40.0\n", "expected lines"),
        ("0\t-4\n", "of numbers >= 0"),
        ("0\t0\n1\t99999999999999999999\n", "expected lines"),
        ("0\t0\n1\t4611686018427387904\n", "record 1 does not begin at byte 4611686018427387904"),
        ("0\t0\t0\n", "expected lines"),
        ("0\t0\n0\t40\n", "key 0 twice"),
        ("0\t0\n1\t0\n", "record 0 ends behind the beginning of the next"),
    ],
)
def test_a_damaged_index_is_refused(rec, text, problem):
    rec.with_suffix(".idx").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=rf"train\.(idx|rec): .*{problem}"):
        RecordImages(rec, SIZE)


def test_files_without_images_are_refused(tmp_path):
    for name, records, problem in (
        ("a.rec", [], "no record in it"),
        ("b.rec", [part(content([1.0, 1.0]))], "record 0: expected images 1.. before 1, got 0"),
        ("c.rec", [part(content(0, jpeg(0))), part(content(0))], "record 1 has no image"),
    ):
        path = write(tmp_path / name, records, index=False)
        with pytest.raises(FormatError, match=re.escape(f"{name}: {problem}")):
            RecordImages(path, SIZE)
    with pytest.raises(FormatError, match=r"none\.rec: cannot be read: No such file"):
        RecordImages(tmp_path / "none.rec", SIZE)


def test_a_file_that_changes_under_a_run_is_refused(rec):
    images = RecordImages(rec, SIZE)
    before = images[0][0]
    status = rec.stat()
    os.utime(rec, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    with pytest.raises(FormatError, match=r"train\.rec: changed while it was read"):
        images[0]
    os.utime(rec, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert torch.equal(images[0][0], before)


def test_a_pickle_of_a_file_that_was_replaced_is_refused(rec):
    pickled = pickle.dumps(RecordImages(rec, SIZE))
    data = rec.read_bytes()
    rec.unlink()
    with pytest.raises(FormatError, match=r"train\.rec: cannot be read: No such file"):
        pickle.loads(pickled)[0]
    write(rec, face_set(IMAGES[:-1]))
    with pytest.raises(FormatError, match=r"train\.rec: changed while it was read"):
        pickle.loads(pickled)[0]
    assert rec.read_bytes() != data


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    records = face_set([(0.0, jpeg(0)), (1.0, b"no image")])
    images = RecordImages(write(tmp_path / "a.rec", records), SIZE)
    with pytest.raises(FormatError, match=r"a\.rec: record 2 cannot be read as an image: "):
        images[1]


def test_the_writer_writes_what_insightface_has(tmp_path):
    expected = write(tmp_path / "train.rec", face_set(IMAGES))
    path = tmp_path / "folder" / "mine.rec"
    assert write_records(path, ((int(label), image) for label, image in IMAGES)) == 12
    # ids are keys, which are 0 in the file that was written by hand
    data = np.frombuffer(bytearray(path.read_bytes()), np.uint8)
    lines = path.with_suffix(".idx").read_text(encoding="utf-8")
    for key, line in enumerate(lines.splitlines()):
        assert line.split("\t")[0] == str(key)
        position = int(line.split("\t")[1])
        assert data[position + 16] == key
        data[position + 16] = 0
    assert data.tobytes() == expected.read_bytes()
    assert lines == expected.with_suffix(".idx").read_text(encoding="utf-8")


def test_the_writer_splits_at_the_magic_number(tmp_path):
    path = tmp_path / "a.rec"
    write_records(path, ((0, payload) for payload in PAYLOADS.values()))
    assert encoded(RecordImages(path, SIZE)) == list(PAYLOADS.values())
    headers = [struct.pack("<IfQQ", 0, 0, key, 0) for key in range(1, len(PAYLOADS) + 1)]
    pairs = zip(headers, PAYLOADS.values(), strict=True)
    expected = b"".join(split(header + payload) for header, payload in pairs)
    assert path.read_bytes()[40 : 40 + len(expected)] == expected  # behind record 0


def test_identities_are_not_written_of_images_in_another_order(tmp_path):
    path = tmp_path / "a.rec"
    write_records(path, [(1, b"a"), (0, b"b"), (1, b"c")])
    assert RecordImages(path, SIZE).labels.tolist() == [1, 0, 1]
    assert len(path.with_suffix(".idx").read_text(encoding="utf-8").splitlines()) == 4


def test_an_interrupted_writer_leaves_the_files_as_they_were(tmp_path):
    path = tmp_path / "a.rec"
    write_records(path, [(0, b"image")])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(before) == ["a.idx", "a.rec"]

    def items():
        yield 0, jpeg(0)
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_records(path, items())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_index_never_stands_beside_another_file(tmp_path, monkeypatch):
    path = tmp_path / "a.rec"
    write_records(path, [(0, b"image"), (0, b"other")])
    monkeypatch.setattr(record_writer, "write_text", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_records(path, [(0, b"another"), (1, b"and one more")])
    assert encoded(RecordImages(path, SIZE)) == [b"another", b"and one more"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.rec"]


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([], "items: expected at least one image"),
        ([(2**24, b"a")], "label: expected an integer below 16777216, got 16777216"),
        ([(-1, b"a")], "label: expected an integer of at least 0, got -1"),
        ([(1.0, b"a")], "label: expected an integer of at least 0, got 1.0"),
    ],
)
def test_the_writer_refuses(tmp_path: Path, items, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        write_records(tmp_path / "a.rec", items)
    assert not list(tmp_path.iterdir())
