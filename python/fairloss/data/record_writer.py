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
        self._add(file, 0, (0, 0))
        for label, image in items:
            check_integer("label", label, 0)
            expect(label < MAX_LABEL, "label", f"an integer below {MAX_LABEL}", label)
            if label != before:
                grouped = grouped and label not in starts
                starts.setdefault(label, len(self.positions))
            before = label
            self._add(file, label, (), image)
        self.count = len(self.positions) - 1
        expect(self.count, "items", "at least one image", "none")
        ends = [*list(starts.values())[1:], self.count + 1]
        for start, end in zip(starts.values(), ends, strict=True) if grouped else ():
            self._add(file, 0, (start, end))
        file.seek(0)
        file.write(pack_record(0, 0, (self.count + 1, len(self.positions))))

    def _add(self, file: BinaryIO, label: int, labels: Sequence[int], image: bytes = b"") -> None:
        key = len(self.positions)
        self.positions.append(file.tell())
        file.write(pack_record(key, label, labels, image))


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
