"""Files that are read at positions, by several processes, and must not change meanwhile."""

from __future__ import annotations

import os
import weakref
from typing import Any

from fairloss.io.atomic import FormatError, report_unreadable
from fairloss.io.mapped import file_version


class PinnedFile:
    """A file that is read at positions, and refused once it was written or replaced.

    A process that is forked shares the descriptor, which has no position that reads depend on;
    one that receives a pickle opens the file again, and refuses another version of it. Nothing is
    mapped: a mapped file that is cut off while it is read would end the process.

    Args:
        path: of the file.

    Attributes:
        path: as given.
        size: bytes.
        time: of the last change, in nanoseconds.

    Raises:
        FormatError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._descriptor: int | None = None
        with report_unreadable(path):
            _, self.size, self.time = file_version(self._open())

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the descriptor; the path is made absolute."""
        return vars(self) | {"path": os.path.abspath(self.path), "_descriptor": None}

    def read(self, start: int, size: int) -> bytes:
        """Return at most `size` bytes from position `start` on, fewer at the end of the file."""
        return os.pread(self._open(), size, start)

    def check_unchanged(self) -> None:
        """Raise FormatError if the file was written or replaced since it was pinned."""
        with report_unreadable(self.path):
            version = file_version(self._open())[1:]
        if version != (self.size, self.time):
            raise FormatError(self.path, "changed while it was read")

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor
