"""Load balancer's choice: each connection goes to the next server that takes it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence

from project.demo.proxy import Streams

Opener = Callable[[], Awaitable[Streams | None]]


class Balancer:
    """Takes the servers in turn; each opener returns ``None`` while its server takes no connections."""

    def __init__(self, openers: Sequence[Opener]) -> None:
        self._turns = itertools.cycle(openers)
        self._count = len(openers)

    async def open_streams(self) -> Streams | None:
        """Return a connection to the next server that takes it, or ``None`` if none does."""
        for opener in itertools.islice(self._turns, self._count):
            if (streams := await opener()) is not None:
                return streams
        return None
