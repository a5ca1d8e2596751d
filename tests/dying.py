"""A worker that dies once; a module of its own, so that other processes can import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path


class DiesOnce:
    """`function`, but its first call with `argument` fails: killed, or by an exception."""

    def __init__(self, function: Callable[[int], int], mark: Path, argument: int, kill: bool):
        self.function, self.mark, self.argument, self.kill = function, mark, argument, kill

    def __call__(self, argument: int) -> int:
        if argument == self.argument and not self.mark.exists():
            self.mark.touch()
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("this worker is lost")
        return self.function(argument)
