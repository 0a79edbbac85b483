"""SIGINT and SIGTERM while a command runs: it ends between two steps, and work that belongs together is finished."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """The command is to end; ``number`` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stops:
    """Signals that ask this process to end. They raise ``Stopped``, later where they are held back."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting: int | None = None

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Raise ``Stopped`` for both signals; of the main thread only, for no other is given them."""
        # One that is ignored stays so, as nohup wants it.
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
        """Hold signals back until the block has ended: for what has to be done as a whole, and takes a moment."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
        if self._waiting is not None and not self._held:
            number, self._waiting = self._waiting, None
            raise Stopped(number)

    def is_waiting(self) -> bool:
        """Return True if a signal is held back: a long step ends soon."""
        return self._waiting is not None

    def _receive(self, number: int, frame: FrameType | None) -> Any:
        if self._held:
            self._waiting = number
            return
        raise Stopped(number)
