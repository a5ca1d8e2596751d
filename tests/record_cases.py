"""RecordIO files written by hand, independently of the package: struct and nothing else."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MAGIC = struct.pack("<I", 0xCED7230A)


def jpeg(value: int, size: int = 16, **options: object) -> bytes:
    """Encode a smooth picture in color."""
    grid = np.add.outer(np.arange(size), np.arange(size))[..., None] * np.array([5, 2, 3])
    picture = Image.fromarray((grid + value).astype(np.uint8))
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def content(labels: float | Sequence[float], image: bytes = b"") -> bytes:
    if isinstance(labels, (int, float)):
        return struct.pack("<IfQQ", 0, labels, 0, 0) + image
    header = struct.pack("<IfQQ", len(labels), 0, 0, 0)
    return header + struct.pack(f"<{len(labels)}f", *labels) + image


def part(data: bytes, kind: int = 0) -> bytes:
    padding = bytes(-len(data) % 4)
    return MAGIC + struct.pack("<I", kind << 29 | len(data)) + data + padding


def write(path: Path, records: Iterable[bytes], index: bool = True) -> Path:
    """Write encoded records one after the other; their keys count from 0."""
    position, lines = 0, []
    with path.open("wb") as file:
        for key, record in enumerate(records):
            lines.append(f"{key}\t{position}\n")
            position += file.write(record)
    if index:
        path.with_suffix(".idx").write_text("".join(lines), encoding="utf-8")
    return path


def face_set(images: Sequence[tuple[float, bytes]]) -> list[bytes]:
    """Return records as insightface has them; images of an identity are beside each other."""
    end = len(images) + 1
    labels = [label for label, _ in images]
    records = [part(content(label, image)) for label, image in images]
    ranges = [
        (labels.index(label) + 1, labels.index(label) + 1 + labels.count(label))
        for label in sorted(set(labels))
    ]
    head = part(content([end, end + len(ranges)]))
    return [head, *records, *(part(content(pair)) for pair in ranges)]


IMAGES = [(float(label), jpeg(40 * label + number)) for label in range(3) for number in range(4)]
