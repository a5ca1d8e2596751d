"""Files that are written as a whole or not at all, and the error for files that cannot be read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class FormatError(ValueError):
    """A file is not what its reader expects; the message names the file and the problem."""

    def __init__(self, path: str | os.PathLike[str], problem: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}")
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[Any, ...]:
        """Return its arguments, so that a process can send it to another."""
        return type(self), (self.path, self.problem)


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the same folder, then rename it to `path`.

    The folder is made if it does not exist; an interrupted write leaves `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_text(path: str | os.PathLike[str]) -> str:
    """Return a text file in UTF-8; FormatError if it is missing, a folder or not text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, f"not a text file: {error}") from error
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
