"""RecordIO files of MXNet (`train.rec`, `train.idx`), in which insightface's face sets come.

A record is one part or several: a magic number, a word with the kind of the part in its upper 3
bits and its length in the others, the bytes, and zeros up to a multiple of 4. Parts are joined by
the magic number: the writer cut it out where the content had it at a multiple of 4. The content is
a header (`HEADER`: flag, label, id, id2), `flag` float32 labels, and an encoded image.

Record 0 of insightface's files is no image: its labels are the key of the first record after the
images, and one more than the last key. The records between them are of one identity each, and
their labels are the first key of its images and one more than the last.

`train.idx` has a line "key<TAB>position" for each record. Without it the file is scanned, and keys
are counted from 0.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.data.text_files import StrPath, check_format
from fairloss.io.atomic import FormatError
from fairloss.io.pinned import PinnedFile
from fairloss.typing import Bools, Ints

TRAIN_REC = "train.rec"  # in the folders that insightface takes
MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
WHOLE, FIRST, MIDDLE, LAST = range(4)  # kinds of parts
MAX_PART = 2**29 - 1  # bytes
MAX_LABEL = 2**24  # float32 holds the integers below it
PART = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
# The beginning of a record of one part, as far as its first label behind the header.
BEGINNING = np.dtype(
    [
        ("magic", "<u4"),
        ("length", "<u4"),
        ("flag", "<u4"),
        ("label", "<f4"),
        ("ids", "<u8", 2),
        ("first", "<f4"),
    ]
)


class RecordFile:
    """The records of a file, by row: in the order of their keys.

    Args:
        path: of the .rec; its .idx is beside it, or missing.

    Attributes:
        keys: (R,) int64, ascending.
        labels: (R,) float32, the first label of each record.
        empty: (R,) bool, of records without an image.

    Raises:
        FormatError: a file is damaged, or the .idx is of another file.
    """

    def __init__(self, path: StrPath) -> None:
        self._file = PinnedFile(path)
        self.path = self._file.path
        index = Path(path).with_suffix(".idx")
        indexed = index.is_file()
        keys, positions = read_index(index) if indexed else self._scan()
        order = np.argsort(keys, kind="stable")
        self.keys, self._positions = keys[order], positions[order]
        same = self.keys[1:] == self.keys[:-1]
        check_format(not same.any(), index, f"key {_first(self.keys[1:], same)} twice")
        self._read_beginnings(index if indexed else None)
        self._file.check_unchanged()

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, row: int) -> bytes:
        """Return the image of a record.

        Raises:
            FormatError: the file was changed.
        """
        self._file.check_unchanged()
        size, header = int(self._sizes[row]), int(self._headers[row])
        if self._split[row]:
            return self.content(row)[header:]
        start = int(self._positions[row]) + PART.size + header
        return self._file.read(start, size - header)

    def content(self, row: int) -> bytes:
        """Return a record with its header."""
        parts = self._parts(int(self._positions[row]), f"record {self.keys[row]}")
        return MAGIC_BYTES.join(self._file.read(start, length) for start, length in parts)

    def describe(self, row: int) -> tuple[StrPath, str]:
        """Return the path and the name of a record, for errors."""
        return self._file.path, f"record {self.keys[row]} "

    def version(self) -> bytes:
        """Return what changes when the file is written."""
        return repr((self._file.size, self._file.time)).encode()

    def _parts(self, position: int, name: str) -> Iterator[tuple[int, int]]:
        """Yield the start and length of each part of a record."""
        kinds = (WHOLE, FIRST)
        while True:
            word = self._file.read(position, PART.size)
            check_format(len(word) == PART.size, self._file.path, f"{name} is cut off")
            magic, length = PART.unpack(word)
            kind, length = length >> 29, length & MAX_PART
            valid = magic == MAGIC and kind in kinds
            check_format(valid, self._file.path, f"{name}: no part of it begins at byte {position}")
            position += PART.size
            end = position + length
            check_format(end <= self._file.size, self._file.path, f"{name} is cut off")
            yield position, length
            if kind in (WHOLE, LAST):
                return
            kinds = (MIDDLE, LAST)
            position = end + -length % 4

    def _scan(self) -> tuple[Ints, Ints]:
        """Return keys and positions of all records."""
        positions, position = [], 0
        while position < self._file.size:
            positions.append(position)
            for start, length in self._parts(position, f"record {len(positions) - 1}"):
                position = start + length + -length % 4
        check_format(positions, self._file.path, "no record in it")
        return np.arange(len(positions)), np.array(positions)

    def _read_beginnings(self, index: Path | None) -> None:
        """Read the labels of all records, and check where these begin and end."""
        size = BEGINNING.itemsize
        parts = (self._file.read(position, size) for position in self._positions.tolist())
        data = b"".join(part.ljust(size, b"\0") for part in parts)
        table = np.frombuffer(bytearray(data), BEGINNING)
        kinds, sizes = table["length"] >> 29, (table["length"] & MAX_PART).astype(np.int64)
        foreign = (table["magic"] != MAGIC) | (kinds > FIRST)
        if index is not None and foreign.any():
            key, position = _first(self.keys, foreign), _first(self._positions, foreign)
            problem = f"record {key} does not begin at byte {position} of {self._file.path}"
            raise FormatError(index, f"{problem}; is it the index of another file?")
        self._check_ends(self._positions + PART.size + sizes)
        self._split: Bools = kinds == FIRST
        for row in np.flatnonzero(self._split).tolist():
            content = self.content(row)
            sizes[row] = len(content)
            beginning = (PART.pack(MAGIC, 0) + content)[:size].ljust(size, b"\0")
            table[row] = np.frombuffer(beginning, BEGINNING)[0]
        flags = table["flag"].astype(np.int64)
        self._sizes, self._headers = sizes, HEADER.size + 4 * flags
        self._check_all(self._headers <= sizes, "is too short for its header and labels")
        self.labels = np.where(flags > 0, table["first"], table["label"])
        self.empty: Bools = self._headers == sizes

    def _check_ends(self, ends: Ints) -> None:
        """Check the ends of records, or of their first parts."""
        self._check_all(ends <= self._file.size, "is cut off")
        order = np.argsort(self._positions, kind="stable")
        overlapping = np.zeros(len(ends), np.bool_)
        overlapping[order[:-1]] = ends[order[:-1]] > self._positions[order[1:]]
        self._check_all(~overlapping, "ends behind the beginning of the next record")

    def _check_all(self, valid: Bools, problem: str) -> None:
        if not valid.all():
            key = _first(self.keys, ~valid)
            raise FormatError(self._file.path, f"record {key} {problem}")


def read_index(path: StrPath) -> tuple[Ints, Ints]:
    """Return the keys and positions of an .idx; FormatError if it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # for an empty file, or numbers that are no integers
            table = np.loadtxt(path, np.int64, delimiter="\t", comments=None, ndmin=2)
    except Exception as error:  # ValueError, OverflowError, UnicodeError, warnings, OSError
        raise FormatError(path, f"expected lines key<TAB>position, got {error}") from error
    valid = table.shape[1:] == (2,) and table.size and table.min() >= 0
    check_format(valid, path, "expected lines key<TAB>position of numbers >= 0")
    return table[:, 0], table[:, 1]


def image_rows(records: RecordFile) -> Ints:
    """Return the rows of a file that are images of identities, and check their labels.

    Raises:
        FormatError: images are missing or empty, or a label is no integer in 0..2^24-1.
    """
    rows: Ints = np.arange(len(records))
    if records.keys[0] == 0 and records.empty[0]:
        rows = rows[1:][~records.empty[1:]]
        last = int(records.keys[rows[-1]]) if len(rows) else 0
        # an end of 2^24 or more is rounded
        complete = last == len(rows) > 0 and np.float32(last + 1) == records.labels[0]
        problem = f"expected images 1.. before {records.labels[0]:g}, got {len(rows)} of 1..{last}"
        check_format(complete, records.path, f"record 0: {problem}")
    labels = records.labels[rows]
    valid = (labels >= 0) & (labels < MAX_LABEL) & (labels == np.floor(labels))
    for wrong, problem in (
        (records.empty[rows], "has no image"),
        (~valid, f"has the label {{}}, expected an integer in 0..{MAX_LABEL - 1}"),
    ):
        if wrong.any():
            label = _first(labels, wrong)
            key = _first(records.keys[rows], wrong)
            raise FormatError(records.path, f"record {key} {problem.format(label)}")
    return rows


def _first(values: npt.NDArray[Any], selected: Bools) -> Any:
    """Return the first of the selected values, or None."""
    return next(iter(values[selected].tolist()), None)
