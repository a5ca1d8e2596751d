"""Files that are written as a whole or not at all, and the error for files that cannot be read."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
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

    The folder is made if it does not exist; an interrupted write leaves `path` as it was. A link
    stays, and the file that it names is written. A device, such as /dev/null, is written in place.

    Raises:
        OSError: naming `path`, if it cannot be written.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}-{get_ident()}.tmp")
    with report_failure(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_char_device():
            write(target)
            return
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def report_failure(path: Path) -> Iterator[None]:
    """Raise an OSError of one line for a failure to write `path`, such as a full disk.

    torch raises a RuntimeError in its place, with the OSError as context.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = _system_error(error)
        if cause is None or _is_about_another_file(cause, path):
            raise
        reason = str(cause.strerror)
        failure = type(cause)(f"output: {reason[:1].lower()}{reason[1:]} while writing {path}")
        failure.errno = cause.errno
        raise failure from error


@contextmanager
def report_malformed(path: Path) -> Iterator[None]:
    """Raise FormatError where content read from `path` lacks an entry, or has one of a wrong type.

    For readers that look up entries; `ValueError` is raised with the name of the file as well.
    """
    try:
        yield
    except FormatError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(path, f"malformed: {error!r}") from error


@contextmanager
def report_unreadable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise FormatError for an error of the operating system while `path` is read."""
    try:
        yield
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the first error of the operating system among an error and its causes."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror is not None:
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_about_another_file(error: OSError, path: Path) -> bool:
    """Return True if an error names a file that is read while `path` is written."""
    if not isinstance(error.filename, (str, os.PathLike)):
        return False
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    named = Path(error.filename)
    return named.parent != target.parent and named not in target.parents


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def read_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """Return a text file in UTF-8, without its byte-order mark if it has one.

    `errors` is of `bytes.decode`: "surrogateescape" for names of files, whose bytes may be any.

    Raises:
        FormatError: the file is missing, a folder or not text.
    """
    try:
        with report_unreadable(path):
            return Path(path).read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError as error:
        raise FormatError(path, f"not a text file: {error}") from error
