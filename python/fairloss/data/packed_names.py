"""Many names in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from fairloss.typing import Ints

SEPARATOR = "\0"  # the one character that no name of a file has
ENCODING = ("utf-8", "surrogateescape")


class PackedNames(Sequence[str]):
    """A sequence of names as one text: 494,500 Python strings take 35 MB more.

    Processes that are forked share it, which they do not with strings, whose reference counts
    are written.

    Args:
        names: without NUL characters; surrogates are the bytes of names that are not UTF-8.
    """

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode(*ENCODING) for name in names]
        ends = np.cumsum([len(name) + 1 for name in encoded], dtype=np.int64)
        self._text = SEPARATOR.encode().join(encoded)
        self._starts: Ints = np.concatenate([np.zeros(1, np.int64), ends])

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        position = range(len(self))[index]
        start, end = self._starts[position : position + 2]
        return self._text[start : end - 1].decode(*ENCODING)

    def __iter__(self) -> Iterator[str]:
        text = self._text.decode(*ENCODING)
        return iter(text.split(SEPARATOR) if len(self) else ())
