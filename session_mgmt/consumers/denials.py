"""Audit entries about refusals on sockets: missing rights, and exceeded limits.

A hostile client is refused thousands of times per second. So a kind of refusal is recorded only once in a while for
each address, at no cost in between, and the audit trail has the same limit over all processes.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from functools import partial
from typing import Any

from session_mgmt.actions import limits
from session_mgmt.actions.sessions import incidents
from session_mgmt.bridge import bridge
from session_mgmt.exceptions import SessionMgmtError

logger = logging.getLogger(__name__)


class Denials:
    """Refusals to record, one object per event loop. They outlive their connection, so a client cannot
    avoid its entry.
    """

    def __init__(self) -> None:
        # Kept, because an event loop holds its tasks by weak references only.
        self._tasks: set[asyncio.Task[None]] = set()

    def note(
        self,
        error: SessionMgmtError,
        call: str,
        *,
        address: str | None,
        user_id: Any = None,
        session: uuid.UUID | None = None,
        log: str | None = None,
    ) -> None:
        """Record a missing right or an exceeded limit; ignore any other refusal."""
        kind = incidents.find_kind(error)
        if kind is None or not limits.is_news(address, kind):
            return
        record = partial(
            incidents.record_denial, error, user_id=user_id, session=session, ip=address, call=call, log=log
        )
        task = asyncio.get_running_loop().create_task(self._write(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, record: partial[None]) -> None:
        """Write an entry; a failure of this changes no answer."""
        try:
            await bridge().call(record)
        except SessionMgmtError:
            logger.warning("A refusal could not be written down")

    async def wait_until_written(self) -> None:
        """Wait for the notes that are under way."""
        await asyncio.gather(*self._tasks)
