"""Hub of one process: its connections and feeds, its rounds, and the notifications that it receives.

Doorbells and the lane report that a log has grown; position checks find the rest. The entries are always read from
the database.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from session_mgmt.actions import notify
from session_mgmt.actions.group_commit import Decision, Group
from session_mgmt.bridge import bridge
from session_mgmt.bridge.late_writes import LateWrites
from session_mgmt.conf import settings
from session_mgmt.consumers import gc_tuning
from session_mgmt.consumers.arrivals import Arrivals
from session_mgmt.consumers.denials import Denials
from session_mgmt.consumers.orders import Orders, read_head, read_orders
from session_mgmt.consumers.presence import Presences
from session_mgmt.consumers.proofs import Proofs
from session_mgmt.consumers.rechecks import Rechecks
from session_mgmt.consumers.rounds import Rounds
from session_mgmt.consumers.serving import Served, Serving
from session_mgmt.consumers.visitors import Visitors
from session_mgmt.protocol.codes import Close

Answer = Callable[[Decision], None]
FLUSH_SECONDS = 5.0


class Hub:
    """Connections and feeds, one hub per event loop; it starts with its first connection."""

    def __init__(self) -> None:
        gc_tuning.freeze_loaded_objects()
        self._loop = asyncio.get_running_loop()
        # With a random part, because after a restart in a container host name and process id are the same.
        self.server = f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stops: list[Callable[[], None]] = [
            # The same sink as for the writes of this loop, so that the lane calls it only once, with the entries and
            # the answers together.
            bridge().lane.listen(self.take_group),
            bridge().listen(self._take_ring),
        ]
        self._remote_listener = bridge().remote_listener(self._handle_ring, self._note_missed)
        self.serving = Serving(self._remote_listener)
        self.arrivals = Arrivals(self.server, self.serving.crowd.size)
        self.rechecks = Rechecks(self.serving, self.arrivals.grants)
        self.proofs = Proofs()
        self.late_writes = LateWrites()
        self.visitors = Visitors(self.late_writes)
        self.presences = Presences()
        self.rounds = Rounds(self.serving, self.rechecks, self.visitors, self.presences)
        self.denials = Denials()
        self.draining = False
        # Number of polls and streams that are held now.
        self.held = 0
        self._tasks: list[asyncio.Task[None]] = []
        if self._remote_listener is not None:
            self._tasks.append(self._loop.create_task(self._remote_listener.run(), name="doorbell"))
            for key in (notify.CONTROL, notify.OUTBOX):
                self._tasks.append(self._loop.create_task(self._remote_listener.join(key), name=f"join {key}"))

    def add_connection(self, connection: Served) -> None:
        """Serve a connection and give it its place in the rounds."""
        self.serving.add_connection(connection)
        self.rounds.schedule_beat(connection)
        self.rounds.watch_token(connection)

    # -- events --------------------------------------------------------------------------------------------------

    def take_group(self, group: Group, results: list[tuple[Answer, Decision]]) -> None:
        """Take a group in the lane's thread, and handle its entries before its answers, in one turn of the loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_on, group, results)

    def _hand_on(self, group: Group, results: list[tuple[Answer, Decision]]) -> None:
        for key, log in group.appended.items():
            feed = self.serving.feeds.get(key)
            if feed is None:
                continue
            # Entries from the lane need no read, because they are the committed ones.
            if feed.epoch == log.epoch:
                feed.append(log.entries)
            else:
                # This feed has another history, so it must read the log's position.
                feed.catch_up()
        # After the entries, so that a receipt finds its entry sent.
        for answer, decision in results:
            answer(decision)
        for document in group.lagging:
            self.rounds.schedule_snapshot(document)
        for waiting in group.unmeasured:
            self.rounds.schedule_look(waiting)

    def _take_ring(self, heads: dict[str, int], payload: Any) -> None:
        """Take a ring, in the thread that rings."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._handle_ring, heads, payload)

    def _handle_ring(self, heads: dict[str, int], payload: Any) -> None:
        for key, given in heads.items():
            feed, head = self.serving.feeds.get(key), read_head(given)
            if feed is None:
                if key == notify.CONTROL:
                    self._handle_control(read_orders(payload))
                elif key == notify.OUTBOX:
                    bridge().nudge()
            # An ephemeral message does not change the log, so there is nothing to read.
            elif payload is not None:
                feed.hand_on_ephemeral(payload)
            elif head is not None:
                feed.hear_of(head)

    def _note_missed(self) -> None:
        """Check at once for rings of other processes that were missed while nobody listened."""
        self.rounds.catch_up()

    def _handle_control(self, orders: Orders) -> None:
        for session, code, reason in orders.stops:
            self.arrivals.grants.forget(session)
            self.serving.stop_session(session, code, reason)
        for session in orders.forgets:
            self.arrivals.grants.forget(session)
        for client, generation, code in orders.fenced:
            self.serving.stop_fenced(client, generation, code)
        if orders.looks:
            self.rounds.look_soon(orders.looks)

    # -- the end ---------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Send all clients away, and spread their return over some seconds: by then another process is there, and all
        of them at once would be a storm for it.
        """
        # First, because clients that are sent away must not be admitted here again.
        self.draining = True
        for connection in list(self.serving.connections):
            connection.stop(Close.DRAINING, retry_after=pick_delay())

    async def stop(self) -> None:
        """Send all clients away and end."""
        self.drain()
        with suppress(TimeoutError):
            # A database that does not answer must not delay the shutdown; leases end the remaining connections.
            async with asyncio.timeout(FLUSH_SECONDS):
                await self.visitors.flush()
                await self.late_writes.flush()
                await self.denials.wait_until_written()
        for stop in self._stops:
            stop()
        self.rounds.stop()
        self.presences.stop()
        self.rechecks.stop()
        self.serving.stop()
        for task in self._tasks:
            task.cancel()


def pick_delay() -> float:
    """Choose the seconds after which one of many clients should come back."""
    return random.uniform(0, settings().drain_spread)


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """Return the hub of the running event loop.

    A process has one loop; tests have many, and each takes its hub with it.
    """
    loop = asyncio.get_running_loop()
    found = _HUBS.get(loop)
    if found is None:
        found = _HUBS[loop] = Hub()
    return found
