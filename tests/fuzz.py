"""Damage to files, for readers that must answer it with one documented error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fairloss.io.atomic import FormatError


def damaged(original: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Truncations, flipped bytes, and pieces removed, repeated or replaced by noise."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        content = bytearray(original)
        for _ in range(int(generator.integers(1, 4))):
            size = len(content)
            if not size:
                break
            start = int(generator.integers(size))
            stop = start + 1 + int(generator.integers(min(16, size)))
            kind = generator.integers(5)
            if kind == 0:
                del content[start:]
            elif kind == 1:
                content[start] ^= 1 << int(generator.integers(8))
            elif kind == 2:
                del content[start:stop]
            elif kind == 3:
                content[start:start] = content[start:stop]
            else:
                content[start:stop] = generator.bytes(stop - start)
        yield bytes(content)


def survive(
    path: Path, read: Callable[[Path], object], count: int, file: Path | None = None
) -> int:
    """Read `count` damaged copies of `path` (or of `file` that `path` leads to).

    Returns how many were refused; anything but a FormatError that names a file is a failure.
    """
    target = file or path
    original = target.read_bytes()
    messages = []
    try:
        for content in damaged(original, count):
            target.write_bytes(content)
            try:
                read(path)
            except FormatError as error:
                messages.append(str(error))
    finally:
        target.write_bytes(original)
    assert all(str(target.parent) in message for message in messages)
    return len(messages)
