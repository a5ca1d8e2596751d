"""Writing RecordIO files of MXNet; `records` describes them."""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from fairloss.checks import check_integer, expect
from fairloss.data.records import (
    FIRST,
    HEADER,
    LAST,
    MAGIC,
    MAGIC_BYTES,
    MAX_LABEL,
    MAX_PART,
    MIDDLE,
    PART,
    WHOLE,
)
from fairloss.data.text_files import StrPath
from fairloss.io.atomic import write_atomic, write_text


def write_records(path: StrPath, items: Iterable[tuple[int, bytes]]) -> int:
    """Write images as insightface has them, with the index beside the file; return their number.

    Records of identities follow the images if those of each identity come one after the other.
    The images are not kept in memory. An interrupted write leaves the files as they were.

    Args:
        path: of the .rec.
        items: label and encoded image of each.

    Raises:
        ValueError: no image, a label that is no integer in 0..2^24-1, or an image of 2^29 bytes.
    """
    target = Path(path)
    index = target.with_suffix(".idx")
    expect(target != index, "path", "a name that ends in .rec", path)
    writer = _Writer()

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            writer.write(file, items)
        # A moment without an index is safe: the file is scanned. One with that of another is not.
        index.unlink(missing_ok=True)

    write_atomic(target, write)
    lines = (f"{key}\t{position}\n" for key, position in enumerate(writer.positions))
    write_text(index, "".join(lines))
    return writer.count


class _Writer:
    """The positions of the records of a file that is written."""

    def __init__(self) -> None:
        self.positions: array[int] = array("q")
        self.count = 0

    def write(self, file: BinaryIO, items: Iterable[tuple[int, bytes]]) -> None:
        starts: dict[int, int] = {}  # first key of each identity
        grouped, before = True, None
        self._add(file, first_record(0, 0))
        for label, image in items:
            check_integer("label", label, 0)
            expect(label < MAX_LABEL, "label", f"an integer below {MAX_LABEL}", label)
            if label != before:
                grouped = grouped and label not in starts
                starts.setdefault(label, len(self.positions))
            before = label
            self._add(file, pack_record(len(self.positions), label, (), image))
        self.count = len(self.positions) - 1
        expect(self.count, "items", "at least one image", "none")
        identities = identity_records(list(starts.values()), self.count) if grouped else []
        for record in identities:
            self._add(file, record)
        file.seek(0)
        file.write(first_record(self.count, len(identities)))

    def _add(self, file: BinaryIO, record: bytes) -> None:
        self.positions.append(file.tell())
        file.write(record)


def first_record(images: int, identities: int) -> bytes:
    """Return record 0 of a file with so many records of images, then of identities."""
    return pack_record(0, 0, (images + 1, images + identities + 1))


def identity_records(starts: Sequence[int], images: int) -> list[bytes]:
    """Return the record of each identity.

    Args:
        starts: ascending, the key of the first image of each.
        images: their number; the keys of the records follow those of the images.
    """
    ends = [*starts[1:], images + 1]
    ranges = enumerate(zip(starts, ends, strict=True), images + 1)
    return [pack_record(key, 0, labels) for key, labels in ranges]


def pack_record(key: int, label: int, labels: Sequence[int], image: bytes = b"") -> bytes:
    """Return a record of one part or several."""
    header = HEADER.pack(len(labels), label, key, 0)
    content = header + struct.pack(f"<{len(labels)}f", *labels) + image
    expect(len(content) <= MAX_PART, "image", f"at most {MAX_PART} bytes", len(content))
    aligned = [
        m.start() for m in re.finditer(re.escape(MAGIC_BYTES), content) if m.start() % 4 == 0
    ]
    starts = [0, *(cut + 4 for cut in aligned)]
    ends = [*aligned, len(content)]
    kinds = [FIRST, *[MIDDLE] * (len(aligned) - 1), LAST] if aligned else [WHOLE]
    parts = []
    for kind, start, end in zip(kinds, starts, ends, strict=True):
        length = end - start
        parts += [PART.pack(MAGIC, kind << 29 | length), content[start:end], bytes(-length % 4)]
    return b"".join(parts)
