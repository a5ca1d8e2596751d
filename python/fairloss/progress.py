"""The callback by which long work reports its progress."""

from collections.abc import Callable
from functools import partial

Progress = Callable[[str, int, int], object]
"""Called as progress(label, done, total)."""


def no_progress(label: str, done: int, total: int) -> None:
    """Report nothing."""


def labeled(progress: Progress | None, label: str) -> Callable[[int, int], object]:
    """Return a callback (done, total) that reports under `label`."""
    return partial(progress or no_progress, label)
