"""SIGTERM and SIGINT (Ctrl-C) of a run: the step in progress ends, and a checkpoint is written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from fairloss.ranks import gather_objects, num_ranks


class Signals:
    """The first SIGTERM or SIGINT of a run, which is held back where the run changes its state.

    Several ranks end together: a signal ends the run once all of them know its number.

    Attributes:
        received: its number, or None.
        shared: the number that all of several ranks know, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.shared: int | None = None
        self._held = False
        self._before: dict[int, Any] = {}

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle both signals, if this is the main thread, but those that are ignored.

        The handlers before are restored, and at the first signal already: a second one ends the
        process at once.
        """
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in _SIGNALS}
            left = (signal.SIG_IGN, None)  # None: of a library in C, which cannot be restored
            self._before = {n: handler for n, handler in handlers.items() if handler not in left}
        try:
            for number in self._before:
                signal.signal(number, self._receive)
            yield
        finally:
            for number in self._before:
                self._restore(number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a signal back; it ends the run after the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.end_if_received()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let a signal end the run at any moment of a block inside of `held`."""
        try:
            self._held = False
            self.end_if_received()
            yield
        finally:
            self._held = True

    @property
    def pending(self) -> int | None:
        """The number of the signal that ends the run, or None."""
        return self.received if num_ranks() == 1 else self.shared

    def number(self) -> int:
        """Return the number that this process has received, or 0."""
        return self.received or 0

    def end_together(self) -> None:
        """End the run on all ranks, each of which calls this, if any has received a signal."""
        self.shared = max(gather_objects(self.number())) or None
        self.end_if_received()

    def end_if_received(self) -> None:
        """End the run if there was a signal.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: after SIGTERM, with the code 143 that a shell reports for it.
        """
        if self.pending is not None:
            _end(self.pending)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._restore(number)
        self.received = self.received or number
        if not self._held:
            _end(number)

    def _restore(self, number: int) -> None:
        if signal.getsignal(number) == self._receive:
            signal.signal(number, self._before[number])


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
