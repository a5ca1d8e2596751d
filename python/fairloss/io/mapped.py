"""Arrays that are mapped from a .npy file, and stay mapped when they are pickled or copied."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fairloss.io.atomic import FormatError

Version = tuple[int, int, int]  # inode, bytes and time of the last change in nanoseconds


class MappedArray(np.memmap[Any, Any]):
    """The whole array of a .npy file, mapped into memory.

    A pickle holds the path instead of the values, and maps the file again when it is loaded; a
    file that has changed in between is refused. A deep copy is the array itself, or in mode "c"
    another map of the file. So values written in mode "c" are in neither: both hold those of the
    file. Slices and results of operations are pickled and copied by their values.
    """

    version: Version | None = None  # of the file; None in a slice or a result

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return the path and version of the file, or the values of a slice or a result."""
        if self.version is None:
            return np.asarray(self).__reduce_ex__(protocol)
        return _reopen, self._source()

    def __deepcopy__(self, memo: Any) -> Any:
        """Return itself, another map in mode "c", or the values of a slice or a result."""
        if self.version is None:
            return np.array(self)
        return self if self.mode == "r" else _reopen(*self._source())

    def _source(self) -> tuple[str, Any, tuple[int, int]]:
        assert self.version is not None
        return os.path.abspath(str(self.filename)), self.mode, self.version[1:]


def open_npy(path: str | os.PathLike[str], mode: Literal["r", "c"] = "r") -> MappedArray:
    """Map the array of a .npy file.

    Args:
        path: of the file.
        mode: "r", or "c": written values stay in memory.

    Raises:
        FormatError: the file changed while it was opened.
    """
    before = file_version(path)
    array = np.lib.format.open_memmap(path, mode=mode).view(MappedArray)
    if file_version(path) != before:
        raise FormatError(path, "changed while it was read")
    array.version = before
    return array


def check_unchanged(array: MappedArray) -> None:
    """Raise FormatError if the file of an array was changed or replaced since it was mapped."""
    path = str(array.filename)
    if file_version(path) != array.version:
        raise FormatError(path, "changed while it was read")


def file_version(path: str | os.PathLike[str] | int) -> Version:
    """Return what changes when a file, given by its path or descriptor, is written or replaced."""
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _reopen(path: str, mode: Literal["r", "c"], version: tuple[int, int]) -> MappedArray:
    if not Path(path).is_file():
        raise FormatError(path, "expected the array that was mapped when this was pickled")
    array = open_npy(path, mode)
    if array.version is None or array.version[1:] != version:
        raise FormatError(path, "changed since it was mapped by what was pickled")
    return array
