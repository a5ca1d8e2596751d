"""Workers that die; a module of its own, so that other processes can import it."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path


def die() -> None:
    """Kill this process, as a machine that fails does."""
    os.kill(os.getpid(), signal.SIGKILL)


class DiesOnce:
    """`function`, but its first call with `argument` fails: killed, or by an exception."""

    def __init__(self, function: Callable[[int], int], mark: Path, argument: int, kill: bool):
        self.function, self.mark, self.argument, self.kill = function, mark, argument, kill

    def __call__(self, argument: int) -> int:
        if argument == self.argument and not self.mark.exists():
            self.mark.touch()
            if self.kill:
                die()
            raise OSError("this worker is lost")
        return self.function(argument)


class StepCount:
    """A file with a byte for each training step that any process has executed."""

    def __init__(self, path: Path):
        self.path = path
        path.touch()

    def __call__(self, label: str, done: int, total: int) -> None:
        """Count a step: a callback for progress."""
        if label.startswith("train"):
            with self.path.open("ab", buffering=0) as file:
                file.write(b".")

    def value(self) -> int:
        return self.path.stat().st_size


STAGES = ("write", "fsync", "replace", "after replace", "unlink")


def die_while_saving(stage: str, count: StepCount, step: int) -> None:
    """Let this process be killed at a stage of the first checkpoint after `step` executed steps."""
    import torch

    def patch(owner, name, change):
        original = getattr(owner, name)

        def changed(*arguments, **options):
            if count.value() < step:
                return original(*arguments, **options)
            return change(original, *arguments, **options)

        setattr(owner, name, changed)

    def before(original, *arguments, **options):
        die()

    def after(original, *arguments, **options):
        original(*arguments, **options)
        die()

    def half(original, state, file):
        buffer = io.BytesIO()
        original(state, buffer)
        file.write(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        file.flush()
        die()

    changes = {
        "write": (torch, "save", half),
        "fsync": (os, "fsync", before),
        "replace": (os, "replace", before),
        "after replace": (os, "replace", after),
        "unlink": (Path, "unlink", before),
    }
    patch(*changes[stage])


def train_and_die(settings, faces, count: StepCount, stage: str | None, step: int) -> None:
    """Train in this process, which is killed while it saves, unless another process kills it."""
    from fairloss.training import train

    if stage is not None:
        die_while_saving(stage, count, step)
    train(settings, faces, progress=count)
