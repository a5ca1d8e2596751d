"""Files of tensors (.pt): state dicts and checkpoints.

A file is the zip archive of `torch.save`, whose comment is the SHA-256 of all before the comment.
torch.load passes the comment over; it would also pass over many a changed byte.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from fairloss.io.atomic import FormatError, write_atomic
from fairloss.io.digest import sha256

_DIGEST = 64  # hexadecimal digits
_START_MARK, _END_MARK = b"PK\x03\x04", b"PK\x05\x06"  # of a zip archive
_END = 22  # bytes of its last record: the mark, 16 bytes, and the length of a comment


def write_state(path: Path, state: Any) -> None:
    """Write tensors and plain values atomically, with a checksum."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # torch's own file would not say why a write failed
            torch.save(state, file)
            file.seek(-2, os.SEEK_END)
            file.write(_DIGEST.to_bytes(2, "little"))
        digest = sha256(temporary)
        with temporary.open("ab") as file:
            file.write(digest.encode())

    write_atomic(path, write)


def read_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return what `write_state` wrote, on the CPU; files of `torch.save` have no checksum.

    Args:
        path: of the file.
        mapped: read a tensor where it is used, if the file is an archive.

    Raises:
        FormatError: the file is damaged, or holds no dict.
    """
    state = read_saved(path, mapped=mapped)
    if not isinstance(state, dict):
        raise FormatError(path, "expected a file of named tensors")
    return state


def read_saved(path: Path, *, mapped: bool = False) -> Any:
    """Return what `read_state` does, or any other object of tensors and plain values."""
    try:
        if not _is_whole(path):
            raise ValueError("a part of it is missing, or has changed")
        mmap = mapped and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises errors of many types
        first_line = str(error).partition("\n")[0] or type(error).__name__
        raise FormatError(path, f"cannot be read, or damaged: {first_line}") from error


def _is_whole(path: Path) -> bool:
    """Return False for an archive without its end, or with a checksum of other bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(len(_START_MARK))
        file.seek(max(0, size - _DIGEST - _END))
        tail = file.read()
    if start != _START_MARK:
        return True  # no archive, but what old versions of torch wrote
    if tail[-_END:].startswith(_END_MARK):
        return tail.endswith(b"\0\0")  # without comment, as torch writes it
    return tail[-_DIGEST:] == sha256(path, size - _DIGEST).encode()
