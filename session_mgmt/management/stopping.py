"""Handle SIGINT and SIGTERM while a command runs: it ends between two steps, so that work that belongs together is
finished.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_WAITS = "Stopping after the calls in progress. A second signal ends at once."
_ENDS = "Ended at once. Calls that were in progress may be repeated."


class Stopped(KeyboardInterrupt):
    """Raised to end the command; ``number`` is the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stops:
    """Signals that ask this process to end. They raise ``Stopped``, later if they are held back."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting: int | None = None
        self._tell: Callable[[str], None] | None = None

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Raise ``Stopped`` for both signals. Python delivers signals only to the main thread, so other threads do
        nothing here.
        """
        # A signal that is ignored stays ignored, as nohup requires.
        usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        taken = [number for number, handler in usual.items() if signal.getsignal(number) is handler]
        for number in taken:
            signal.signal(number, self._receive)
        try:
            yield
        finally:
            for number in taken:
                signal.signal(number, usual[number])

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold signals back until the block has ended, for short work that must be done completely."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._waiting is not None and not self._held:
            number, self._waiting = self._waiting, None
            raise Stopped(number)

    @contextmanager
    def hold_long(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Hold the first signal back, but call `tell` at once to explain the wait; a second one ends the process."""
        self._tell = tell
        try:
            with self.hold():
                yield
        finally:
            self._tell = None

    def is_waiting(self) -> bool:
        """Return True if a signal is held back, so that a long step can stop early."""
        return self._waiting is not None

    def _receive(self, number: int, frame: FrameType | None) -> Any:
        if not self._held:
            raise Stopped(number)
        is_second, self._waiting = self._waiting is not None, number
        if self._tell is None:
            return
        # The signal may have interrupted the writing of a line to the same stream.
        with suppress(RuntimeError):
            self._tell(_ENDS if is_second else _WAITS)
        if is_second:
            # Not an exception, after which the process would wait for its threads.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
