"""Rings through PostgreSQL's ``LISTEN`` and ``NOTIFY``, for sites that have no Redis.

A process has two connections of its own for it, in autocommit: one tells, one hears everything that is told in its
schema and passes over what it does not serve. Commits with a NOTIFY wait for each other in the whole cluster, so what
rings within ten milliseconds goes as one, and waits for no disk. A process finds out by itself whether it hears:
through a pooler in transaction mode, LISTEN is taken and nothing arrives.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections

from session_mgmt.backends.rings import SEND_TIMEOUT, Heads, Listener, Payloads, Ring, build_origin

if TYPE_CHECKING:
    from psycopg import AsyncConnection

logger = logging.getLogger(__name__)

# PostgreSQL takes payloads below 8,000 bytes.
MOST_BYTES = 7900
# Seconds for which rings gather after each round.
GATHER_SECONDS = 0.01
# Seconds between two rings of a process to itself, and until such a ring must have come back.
ECHO_INTERVAL, ECHO_TIMEOUT = 30.0, 2.0
# Seconds before the first new attempt to listen; it doubles.
SHORTEST_DELAY = 1.0
# A dead peer must be noticed, or rings wait in its socket for a quarter of an hour.
_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
_PARAMS = {**_ALIVE, "application_name": "session_mgmt doorbell"}
_QUICK = "SET synchronous_commit TO off"
_NOTIFY = "SELECT pg_notify(%s, part) FROM unnest(%s::text[]) AS part"
_FIND_CHANNEL = """
SELECT 'session_mgmt_' || left(encode(sha256(convert_to(current_schema()::text, 'UTF8')), 'hex'), 16)
"""
# Of this process, by alias: those that ring themselves and hear nothing.
_deaf: set[str] = set()


@dataclass(frozen=True, slots=True)
class PostgresCarrier:
    """Database of the project, by its alias; its address must lead to PostgreSQL itself and not to a pooler."""

    alias: str
    name: str = "PostgreSQL"

    def build_sender(self) -> PostgresSender:
        return PostgresSender(self.alias)

    def build_listener(self, heard: Listener, miss: Callable[[], None], ring: Ring) -> PostgresListener:
        return PostgresListener(self.alias, heard, miss, ring)

    def is_deaf(self) -> bool:
        return self.alias in _deaf


async def _connect(alias: str) -> tuple[AsyncConnection[Any], str]:
    """Open a new connection; return it and the name of the channel of its schema."""
    from psycopg import AsyncConnection

    connection = await AsyncConnection.connect(**_build_params(alias), autocommit=True)
    try:
        await connection.execute(_QUICK)
        ((channel,),) = await (await connection.execute(_FIND_CHANNEL)).fetchall()
    except BaseException:
        await connection.close()
        raise
    return connection, channel


def _build_params(alias: str) -> dict[str, Any]:
    given = connections[alias].get_connection_params()
    # Of Django's own: classes of its cursors and types.
    return {**_PARAMS, **{name: value for name, value in given.items() if name not in ("context", "cursor_factory")}}


def try_bell(alias: str) -> bool:
    """Ring once, and return whether the notification arrived. Raises the errors of connecting."""
    from psycopg import Connection

    channel, params = f"session_mgmt_{random.getrandbits(60):x}", _build_params(alias)
    with Connection.connect(**params, autocommit=True) as ear, Connection.connect(**params, autocommit=True) as bell:
        ear.execute(f"LISTEN {channel}")
        bell.execute("SELECT pg_notify(%s, '')", (channel,))
        return any(True for _ in ear.notifies(timeout=ECHO_TIMEOUT, stop_after=1))


class PostgresSender:
    """Sender for one thread, whose connection is opened when it is needed."""

    def __init__(self, alias: str) -> None:
        self._alias, self._origin = alias, build_origin()
        self._connection: AsyncConnection[Any] | None = None
        self._channel = ""
        self._numbers = itertools.count(1)

    async def send(self, heads: Heads, payloads: Payloads) -> None:
        """Send everything in one statement, and let the next rings gather."""
        texts = [*self._pack_heads(heads), *(self._write({"h": {key: 0}, "p": payload}) for key, payload in payloads)]
        parts = [part for text in texts for part in self._cut(text)]
        async with asyncio.timeout(SEND_TIMEOUT):
            await self._notify_patiently(parts)
        await asyncio.sleep(GATHER_SECONDS)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _notify_patiently(self, parts: list[str]) -> None:
        """Notify; on a new connection where the old one has ended while nobody rang."""
        from psycopg import OperationalError

        if self._connection is not None:
            with suppress(OperationalError):
                await self._notify(parts)
                return
        await self._notify(parts)

    async def _notify(self, parts: list[str]) -> None:
        try:
            if self._connection is None:
                self._connection, self._channel = await _connect(self._alias)
            await self._connection.execute(_NOTIFY, (self._channel, parts))
        except BaseException:
            await self.close()
            raise

    def _cut(self, text: str) -> Iterator[str]:
        """Cut what is too long for one notification; parts of one transaction arrive together and in order."""
        if len(text) <= MOST_BYTES:
            yield text
            return
        head = f"{self._origin}:{next(self._numbers)}"
        size = MOST_BYTES - len(head) - 20
        count = -(-len(text) // size)
        for index in range(count):
            yield f"{head}:{index}:{count}:{text[index * size : (index + 1) * size]}"

    def _pack_heads(self, heads: Heads) -> Iterator[str]:
        """Write logs and their places, as many together as fit."""
        pack, size, limit = dict[str, int](), 0, MOST_BYTES - len(self._write({"h": {}}))
        for key, head in heads.items():
            more = len(json.dumps({key: head}))
            if pack and size + more > limit:
                yield self._write({"h": pack})
                pack, size = {}, 0
            pack[key] = head
            size += more
        if pack:
            yield self._write({"h": pack})

    def _write(self, message: dict[str, Any]) -> str:
        """Write ASCII alone, so that every character is a byte and can be cut behind."""
        return json.dumps({"o": self._origin, **message}, separators=(",", ":"))


class PostgresListener:
    """Listener of one process: it is notified of every log; its callback ignores those that nobody follows here."""

    def __init__(self, alias: str, heard: Listener, miss: Callable[[], None], ring: Ring) -> None:
        self._alias, self._heard, self._miss, self._ring = alias, heard, miss, ring
        self._parts: dict[str, list[str]] = {}
        # A log of its own, for a process may have several ears.
        self._echo_key, self._echo = f"echo:{random.getrandbits(40)}", 0
        self._echoed = asyncio.Event()
        self._delay = SHORTEST_DELAY
        self._is_failing = False

    async def join(self, key: str) -> None:
        """Do nothing: there is one channel for all logs."""

    async def leave(self, key: str) -> None:
        """Do nothing: there is one channel for all logs."""

    async def run(self) -> None:
        """Listen until cancelled; after a failure connect again, and have what may have been missed looked for."""
        try:
            while True:
                try:
                    await self._listen()
                except Exception as error:
                    self._note_failure(error)
                    await asyncio.sleep(self._delay)
                    self._delay = min(2 * self._delay, ECHO_INTERVAL)
        finally:
            _deaf.discard(self._alias)

    def _note_failure(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("PostgreSQL tells of no doorbells; positions are checked without them: %r", error)

    async def _listen(self) -> None:
        from psycopg import sql

        async with asyncio.timeout(SEND_TIMEOUT):
            connection, channel = await _connect(self._alias)
        try:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self._parts.clear()
            self._miss()
            await _wait_for_first(self._read(connection), self._watch())
        finally:
            await connection.close()

    async def _read(self, connection: AsyncConnection[Any]) -> None:
        async for notice in connection.notifies():
            if (text := self._join_parts(notice.payload)) is not None:
                self._take(text)
        raise ConnectionError("The connection has ended.")

    def _join_parts(self, text: str) -> str | None:
        if text.startswith("{"):
            return text
        try:
            origin, _, index, count, part = text.split(":", 4)
            is_first, is_last = int(index) == 0, int(index) == int(count) - 1
        except ValueError:
            return None
        parts = self._parts.setdefault(origin, [])
        if is_first:
            parts.clear()
        parts.append(part)
        if not is_last:
            return None
        del self._parts[origin]
        return "".join(parts) if len(parts) == int(count) else None

    def _take(self, text: str) -> None:
        # Anybody who may use the database can notify, so the message is not trusted to be well formed.
        try:
            message = json.loads(text)
        except ValueError:
            return
        heads = message.get("h") if isinstance(message, dict) else None
        if not isinstance(heads, dict):
            return
        if message.get("o") != build_origin():
            self._heard(heads, message.get("p"))
        elif heads.get(self._echo_key) == self._echo:
            self._echoed.set()

    async def _watch(self) -> None:
        """Ring this process itself again and again. Raises ``TimeoutError`` when nothing is heard of it."""
        while True:
            await self._ring_myself()
            await asyncio.sleep(ECHO_INTERVAL * random.uniform(0.8, 1.2))

    async def _ring_myself(self) -> None:
        self._echo += 1
        self._echoed.clear()
        self._ring({self._echo_key: self._echo})
        try:
            async with asyncio.timeout(ECHO_TIMEOUT):
                await self._echoed.wait()
        except TimeoutError:
            _deaf.add(self._alias)
            raise TimeoutError("A process has rung itself and heard nothing. Is a pooler in between?") from None
        _deaf.discard(self._alias)
        self._delay = SHORTEST_DELAY
        if self._is_failing:
            self._is_failing = False
            logger.warning("PostgreSQL tells of doorbells again")


async def _wait_for_first(*works: Any) -> None:
    """Run all until one ends, and raise what it raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with suppress(BaseException):
            await asyncio.gather(*tasks, return_exceptions=True)
