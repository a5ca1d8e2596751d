"""Outputs of long work: checked before it begins, and locked while it writes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from fairloss.checks import expect
from fairloss.io.atomic import report_failure

LOCK = ".run.lock"
# Errors of flock on file systems without locks, which behave like Windows then.
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def check_output(path: str | os.PathLike[str], name: str = "output", *, folder: bool) -> None:
    """Raise ValueError, before the work begins, if the output could not be written at its end.

    Nothing is made or changed.

    Args:
        path: of the output.
        name: of the setting.
        folder: whether it is a folder; it may exist then.
    """
    kind = "folder" if folder else "file"
    text = os.fspath(path)
    expect(text and "\0" not in text, name, f"the path of a {kind}", repr(text))
    target = Path(os.path.realpath(text))
    try:
        exists = target.exists()
    except OSError as error:
        raise ValueError(f"{name}: expected a {kind}, got {path} ({error.strerror})") from error
    if exists:
        expect(target.is_dir() == folder, name, f"a {kind}", f"{path}, which is no {kind}")
    parent = target if folder and exists else target.parent
    while not parent.exists() and not parent.is_symlink():
        parent = parent.parent
    expect(parent.is_dir(), name, f"a {kind} in a folder", f"{path}, but {parent} is a file")
    writable = os.access(parent, os.W_OK | os.X_OK) or target.is_char_device()
    expect(writable, name, f"a {kind} that can be written", f"{path}, as {parent} is read-only")


@contextmanager
def locked_output(folder: Path, name: str = "output") -> Iterator[None]:
    """Hold the lock of a folder, and remove temporaries of dead runs; see `locked`."""
    check_output(folder, name, folder=True)
    with locked(folder, folder / LOCK, name):
        for temporary in folder.glob(".*.[0-9]*-[0-9]*.tmp"):  # of write_atomic and write_divided
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
        yield


@contextmanager
def locked_beside(output: Path, name: str = "output", *, folder: bool) -> Iterator[None]:
    """Hold the lock of an output that appears when it is complete; see `locked`."""
    check_output(output, name, folder=folder)
    with locked(output, output.with_name(f".{output.name}.lock"), name):
        yield


@contextmanager
def locked(output: Path, path: Path, name: str = "output") -> Iterator[None]:
    """Hold a lock, the file at `path`, which ends with the process.

    The lock is that of `flock`, where the system has it: also over NFS on Linux. Folders that are
    made for it are removed again if nothing else was written there.

    Raises:
        ValueError: naming the process, if another one holds it.
    """
    folders = (path.parent, *path.parent.parents)
    new = [folder for folder in folders if not folder.exists()]
    try:
        with report_failure(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        with file, _held(file, output, path, name):
            yield
    finally:
        with suppress(OSError):  # of the first that is not empty
            for folder in new:
                folder.rmdir()


_locks: set[TextIO] = set()  # files whose locks this process holds


def _close_locks() -> None:
    """Close inherited files: a process that outlives the holder of a lock would keep it."""
    while _locks:
        _locks.pop().close()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_close_locks)


@contextmanager
def _held(file: TextIO, output: Path, path: Path, name: str) -> Iterator[None]:
    if not _lock(file.fileno(), path):
        file.seek(0)
        got = f"{output} (process {file.read().strip() or 'unknown'})"
        raise ValueError(f"{name}: expected one that no other run writes, got {got}")
    _locks.add(file)
    try:
        with report_failure(path):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
    finally:
        _locks.discard(file)
        if os.name != "nt":  # where an open file cannot be removed
            path.unlink(missing_ok=True)


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; return False if another process has, or removed it from `path`."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return True
